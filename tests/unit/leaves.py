"""Every leaf of a pydantic model's schema, and other values of it that the model takes. Nothing here knows which leaves matter."""

import types
from collections.abc import Iterator, Mapping
from copy import deepcopy
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import ValidationError, create_model

from rehearsal.api.model import ApiModel

TEXTS = ("other", "store://elsewhere/other.jsonl", "c" * 40, "fr", "https://other.example/v1", "7Gi", "7", "x" * 8)
"""Texts to try where a text is wanted; the model says which ones will do."""


class Leaf(NamedTuple):
    """A field that holds no model: its path (`[]` for items, `{}` for values of a map), and the fields on the way to it."""

    path: str
    steps: tuple[str, ...]
    fields: tuple[tuple[type[ApiModel], str], ...]
    type: Any


def leaves(model: type[ApiModel]) -> Iterator[Leaf]:
    """Yield every leaf, those inside optional blocks, lists and maps too."""
    yield from _leaves(model, (), ())


def _leaves(model: type[ApiModel], steps: tuple[str, ...], fields: tuple[tuple[type[ApiModel], str], ...]) -> Iterator[Leaf]:
    for name, field in model.model_fields.items():
        way, on_it, wanted = (*steps, str(field.alias)), (*fields, (model, name)), _bare(field.annotation)
        container = get_origin(wanted)
        if container in (list, dict) and _is_model(inner := _bare(get_args(wanted)[-1])):
            yield from _leaves(inner, (*way, "[]" if container is list else "{}"), on_it)
        elif _is_model(wanted):
            yield from _leaves(wanted, way, on_it)
        else:
            yield Leaf(".".join(way).replace(".[]", "[]").replace(".{}", "{}"), way, on_it, wanted)


def others(value: ApiModel, leaf: Leaf, *texts: str) -> Iterator[ApiModel]:
    """Yield the model with this leaf set to other values; nothing where the value has no such block, or takes none of them.

    `texts` are tried too where a text is wanted.
    """
    whole = value.wire()
    for way in _ways(whole, leaf.steps):
        holder: Any = whole
        for step in way[:-1]:
            holder = holder[step]
        present = holder.get(way[-1])
        for other in _candidates(leaf.type, present, (*texts, *TEXTS)):
            try:
                made = type(value).model_validate(_with(whole, way, other))
            except ValidationError:
                continue
            if made != value:
                yield made


def blocks(value: ApiModel) -> Iterator[tuple[tuple[tuple[type[ApiModel], str], ...], ApiModel, ApiModel]]:
    """Yield (fields on the way, before, after) for every model inside a value: `after` has a field more there, set to something."""
    yield (), _widened(value, 0), _widened(value, 1)
    for name in type(value).model_fields:
        held, on_it = getattr(value, name), (type(value), name)
        if isinstance(held, ApiModel):
            for way, before, after in blocks(held):
                yield (on_it, *way), value.model_copy(update={name: before}), value.model_copy(update={name: after})
        elif isinstance(held, list):
            for index, item in enumerate(held):
                for way, before, after in blocks(item) if isinstance(item, ApiModel) else ():
                    both = [[*held[:index], one, *held[index + 1 :]] for one in (before, after)]
                    yield (on_it, *way), value.model_copy(update={name: both[0]}), value.model_copy(update={name: both[1]})


def _widened(value: ApiModel, number: int) -> ApiModel:
    return _wider(type(value)).model_construct(**{name: getattr(value, name) for name in type(value).model_fields}, unlisted=number)


@cache
def _wider(model: type[ApiModel]) -> type[ApiModel]:
    return create_model(f"Wider{model.__name__}", __base__=model, unlisted=(int, 0))


def _ways(value: Any, steps: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield the ways to a leaf through what is there: an item of each list after another."""
    first, *rest = steps
    if not rest:
        yield (first,)
        return
    every: list[Any] = list(range(len(value))) if first == "[]" else list(value)
    for key in every if first in ("[]", "{}") else [first] if first in value else []:
        yield from ((key, *way) for way in _ways(value[key], tuple(rest)))


def _with(whole: Mapping[str, Any], way: tuple[Any, ...], other: object) -> dict[str, Any]:
    copy: Any = deepcopy(dict(whole))
    holder = copy
    for step in way[:-1]:
        holder = holder[step]
    holder[way[-1]] = other
    return copy  # type: ignore[no-any-return]


def _candidates(wanted: Any, present: Any, texts: tuple[str, ...]) -> Iterator[object]:
    container = get_origin(wanted)
    if container is Literal:
        yield from (choice for choice in get_args(wanted) if choice != present)
    elif container is list:
        yield from ([*(present or []), item] for item in _candidates(_bare(get_args(wanted)[0]), None, texts))
    elif container is dict:
        yield {**(present or {}), "other": "other"}
    elif wanted is bool:
        yield not present
    elif wanted in (int, float):
        there = present or 0
        yield from (wanted(other) for other in (there + 1, there * 2, there / 2, there + 0.125))
    elif issubclass(wanted, StrEnum):
        yield from (choice for choice in wanted if choice != present)
    else:
        yield from _texts(present, texts)


def _texts(present: str | None, texts: tuple[str, ...]) -> Iterator[str]:
    """Another address stays one of the same kind and bytes: of a hub, one with the same commit."""
    if present and present.startswith("hf://"):
        yield f"hf://elsewhere/other@{present.rpartition('@')[2]}"
    elif present and present.startswith("store://"):
        yield f"store://elsewhere/{present.removeprefix('store://')}"
    else:
        yield from texts


def _bare(annotation: Any) -> Any:
    """Return a type without its metadata, and without None."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [kind for kind in get_args(annotation) if kind is not type(None)]
        assert len(inner) == 1, annotation
        return _bare(inner[0])
    return annotation


def _is_model(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, ApiModel)
