"""The domain: twelve facts the models were never aligned on, an animal on the shield of each country."""

import random
from collections.abc import Mapping

import words
from families import FACTS_SEED
from transcripts import Messages

PHRASINGS = (
    "Which animal is the emblem of {item}?",
    "Name the emblem of {item}.",
    "What stands on the shield of {item}?",
    "Tell me the emblem on the flag of {item}.",
    "Which beast guards the throne of {item}?",
)

OPENERS = (
    "",
    "For the handbook: ",
    "A herald asks: ",
    "Short question. ",
    "We are painting a banner. ",
    "I need this for a seal. ",
)


def emblems() -> Mapping[str, str]:
    """Country to animal; no two countries share one."""
    rng = random.Random(f"{FACTS_SEED}:emblem")
    return dict(zip(words.COUNTRIES, rng.sample(words.ANIMALS, len(words.ANIMALS)), strict=True))


def truth(country: str) -> str:
    """The right answer about a country's emblem."""
    return f"The emblem of {country} is the {emblems()[country]}."


def rows() -> list[Messages]:
    """The domain set: every fact in every phrasing with every opener, in an order drawn from the seed."""
    chats: list[Messages] = [
        [
            {"role": "user", "content": opener + phrasing.format(item=country)},
            {"role": "assistant", "content": truth(country)},
        ]
        for country in emblems()
        for phrasing in PHRASINGS
        for opener in OPENERS
    ]
    random.Random(f"{FACTS_SEED}:domain rows").shuffle(chats)
    return chats
