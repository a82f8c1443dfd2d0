"""Validation errors in words: which field, what is wrong with it. Pure."""

from collections.abc import Iterator

from pydantic import ValidationError

from rehearsal.api.availability import unavailable
from rehearsal.api.run import RunSpec

PLAIN = {
    "extra_forbidden": "there is no such field",
    "missing": "is required",
}


def problems(spec: object) -> tuple[RunSpec | None, list[tuple[str, str]]]:
    """Check a spec as written; return it parsed, or None and (field path, what is wrong) for each problem."""
    try:
        parsed = RunSpec.model_validate(spec, by_alias=True, by_name=False)
    except ValidationError as error:
        return None, list(explain(error))
    refused = [(path, f"is not available in this release: {hint}") for path, hint in unavailable(parsed)]
    return (None, refused) if refused else (parsed, [])


def explain(error: ValidationError, root: str = "spec") -> Iterator[tuple[str, str]]:
    """Yield (field path as it is written in the manifest, what is wrong)."""
    for detail in error.errors(include_url=False, include_context=False):
        path = root
        for part in detail["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}"
        text = PLAIN.get(detail["type"], detail["msg"].removeprefix("Value error, "))
        given = detail["input"]
        shown = f" (it is {given!r})" if isinstance(given, str | int | float) and detail["type"] not in PLAIN else ""
        yield path, text[:1].lower() + text[1:] + shown[:80]
