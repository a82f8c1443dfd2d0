"""What an API server's refusal asks of the caller: its answer as an error of the port. Text comes from the server's Status object."""

from typing import Any

from rehearsal.cluster.port import AlreadyExists, ClusterError, Conflict, Forbidden, Invalid, NotFound, Unavailable
from rehearsal.outside.json_text import read_own_json


class NotServed(Unavailable):
    """The server knows no such kind: its definition is not installed, or not loaded yet."""


def error_of(verb: str, kind: str, code: int, body: bytes, retry_after: str | None) -> ClusterError:
    """Return the error that an answer other than 2xx stands for; `retry_after` is the header of that name.

    What is neither the manifest's fault nor the caller's rights is Unavailable: an unknown answer must never look like an
    absent object.
    """
    status = _status(body)
    text = str(status.get("message") or body[:300].decode(errors="replace").strip() or f"HTTP {code}")
    words = f"{verb} {kind}: {text}"
    match code, status.get("reason"):
        case 404, _:
            # Only the answer about an object names it; that about an unknown kind, or of a proxy, does not.
            return NotFound(words) if (status.get("details") or {}).get("name") else NotServed(f"{words} (is {kind} installed?)")
        case 409, "AlreadyExists":
            return AlreadyExists(words)
        case 409, _:
            return Conflict(words)
        case 403, _:
            return Forbidden(f"may not {words}")
        case 422, _:
            return Invalid(_causes(status) or text)
        case ((400 | 413), _):
            return Invalid(f"{kind}: {text}")
    return Unavailable(f"{words} (HTTP {code})", _seconds(retry_after))


def _status(body: bytes) -> dict[str, Any]:
    try:
        status = read_own_json(body)
    except ValueError:
        return {}
    return status if isinstance(status, dict) and status.get("kind") == "Status" else {}


def _causes(status: dict[str, Any]) -> str:
    """Every field that is wrong, with what is wrong about it."""
    causes = (status.get("details") or {}).get("causes") or []
    return "; ".join(f"{cause['field']}: {cause.get('message', '')}" for cause in causes if cause.get("field"))


def _seconds(retry_after: str | None) -> float | None:
    """API servers write whole seconds; a date, which a proxy might write, is left to the caller's own back-off."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
