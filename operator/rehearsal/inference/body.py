"""The body of an answer over HTTP: bounded JSON, and the numbers and words in it that are kept."""

import aiohttp

from rehearsal.outside.json_text import read_json
from rehearsal.outside.text import shown
from rehearsal.outside.unreadable import Unreadable

LONGEST_BODY = 64 * 2**20
LARGEST_COUNT = 2**40
"""More tokens than a request has; every store and API server can keep it."""
LARGEST_ID = 2**31 - 1


class UnreadableAnswerError(Exception):
    """The answer is not a finished answer to the request."""


async def read_body(response: aiohttp.ClientResponse) -> object:
    """Return the JSON of an answer, or raise UnreadableAnswerError. A text cut inside a surrogate pair keeps its half."""
    try:
        return read_json(await _bytes(response, LONGEST_BODY), halves=True)
    except Unreadable as error:
        raise UnreadableAnswerError(f"an answer that {error.problem}") from None


async def read_words(response: aiohttp.ClientResponse, most: int = 300) -> str:
    """Return the beginning of an answer's text, for a log."""
    return shown((await response.content.read(4 * most)).decode(errors="replace"), most)


def count(value: object) -> int:
    """Return a number of tokens, or raise ValueError."""
    return _whole(value, LARGEST_COUNT)


def token_id(value: object) -> int:
    """Return the id of a token, or raise ValueError."""
    return _whole(value, LARGEST_ID)


def _whole(value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError("a number that is none")
    return value


async def _bytes(response: aiohttp.ClientResponse, most: int) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > most:
            raise UnreadableAnswerError("an answer without end")
    return bytes(data)
