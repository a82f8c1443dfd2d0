"""A status that its schema takes and a terminal can print, whatever words of a kubelet, an engine or a worker are in it."""

from functools import cache
from typing import TypeVar, get_args

from annotated_types import MaxLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.types import StringConstraints

from rehearsal.outside.text import shown

M = TypeVar("M", bound=BaseModel)


def bounded(model: M) -> M:
    """Return the model with every text, map and list cut to its `max_length`: a text's and a map's end, a list's beginning.

    A text that has a bound is made printable, too (`outside.text.shown`).
    """
    cut = {}
    for name, limit in _limits(type(model)).items():
        before = getattr(model, name)
        after = _cut(before, limit)
        if after is not before:
            cut[name] = after
    return model.model_copy(update=cut) if cut else model


@cache
def _limits(model: type[BaseModel]) -> dict[str, int | None]:
    return {name: _limit(field) for name, field in model.model_fields.items()}


def _limit(field: FieldInfo) -> int | None:
    """Find the bound in the field's own metadata, or in that of an annotated type which may also be None."""
    inside = [item for part in get_args(field.annotation) for item in getattr(part, "__metadata__", ())]
    for item in (*field.metadata, *inside):
        if isinstance(item, MaxLen):
            return item.max_length
        if isinstance(item, StringConstraints) and item.max_length is not None:
            return item.max_length
    return None


def _cut(value: object, limit: int | None) -> object:
    if isinstance(value, BaseModel):
        return bounded(value)
    if isinstance(value, list):
        whole = value if limit is None else value[-limit:]
        items = [_cut(item, None) for item in whole]
        return value if len(whole) == len(value) and all(a is b for a, b in zip(items, whole, strict=True)) else items
    if limit is None or not isinstance(value, str | dict):
        return value
    if isinstance(value, str):
        return value if len(value) <= limit and value.isprintable() else shown(value, limit)
    return value if len(value) <= limit else dict(list(value.items())[:limit])
