"""The CRD is what the models say, and what they say badly is refused when it is generated."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, StringConstraints

from rehearsal.api.crd import crd, manifest
from rehearsal.api.model import ApiModel, SpecModel
from rehearsal.api.names import Name
from rehearsal.api.rules import Rule, Unique
from rehearsal.api.schema import NotStructuralError, structural

CRD = Path(__file__).parents[3] / "crds" / "rehearsal.dev_reconstructionruns.yaml"


class Item(SpecModel):
    """An item."""

    name: Name = Field(description="Its name.")
    weight: float = Field(0.5, gt=0, lt=1, description="Its weight.")
    note: Name | None = Field(None, description="What is to be said of it.")


class Box(SpecModel):
    """A box of items."""

    rules = (Rule("a box must be full", cel="self.items.size() == self.room", holds=lambda box: len(box.items) == box.room),)

    room: int = Field(1, ge=1, le=9, description="How many items it takes.")
    items: Annotated[list[Item], Unique("name")] = Field(
        default_factory=lambda: [Item(name="only")], max_length=9, description="What is in it."
    )


class Shelf(SpecModel):
    """A shelf."""

    box: Box = Field(default_factory=Box, description="The box on it.")
    spare: Box | None = Field(None, description="Another one.")
    labels: dict[Name, Name] = Field(default_factory=dict, max_length=2, description="What is written on it.")


def test_the_committed_file_is_what_the_models_generate() -> None:
    assert CRD.read_text(encoding="utf-8") == manifest(), "run `make manifests`"


def nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for inner in [
        *schema.get("properties", {}).values(),
        *(schema[key] for key in ("items", "additionalProperties") if key in schema),
    ]:
        yield from nodes(inner)


def test_every_number_of_the_spec_that_is_whole_is_bounded_on_both_sides() -> None:
    spec = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    whole = [node for node in nodes(spec) if node.get("type") == "integer"]
    assert len(whole) > 20
    assert all({"minimum", "maximum"} <= node.keys() for node in whole)


def test_nothing_is_filled_in_below_an_atomic_list_where_it_would_be_drift_to_argo_cd() -> None:
    spec = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    atomic = [node for node in nodes(spec) if node.get("type") == "array" and node.get("x-kubernetes-list-type") != "map"]
    assert len(atomic) > 2
    assert not [inner for node in atomic for inner in nodes(node["items"]) if "default" in inner]


def test_bounds_optional_fields_and_references_are_converted() -> None:
    item = structural(Box)["properties"]["items"]["items"]
    assert item == {
        "description": "An item.",
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"description": "Its name.", "type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 32},
            "weight": {
                "description": "Its weight.",
                "type": "number",
                "default": 0.5,
                "minimum": 0,
                "exclusiveMinimum": True,
                "maximum": 1,
                "exclusiveMaximum": True,
            },
            "note": {
                "description": "What is to be said of it.",
                "type": "string",
                "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "maxLength": 32,
            },
        },
    }


def test_a_rule_and_a_key_are_said_to_the_api_server() -> None:
    box = structural(Box)
    assert box["x-kubernetes-validations"] == [{"rule": "self.items.size() == self.room", "message": "a box must be full"}]
    assert box["properties"]["items"]["x-kubernetes-list-type"] == "map"
    assert box["properties"]["items"]["x-kubernetes-list-map-keys"] == ["name"]


def test_the_bounds_of_a_maps_keys_become_a_rule() -> None:
    labels = structural(Shelf)["properties"]["labels"]
    [rule] = labels["x-kubernetes-validations"]
    assert rule["rule"] == 'self.all(key, key.size() <= 32 && key.matches("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))'
    assert labels["additionalProperties"]["maxLength"] == 32


def test_a_default_with_rules_says_all_that_they_read_and_an_optional_object_has_none() -> None:
    shelf = structural(Shelf)["properties"]
    assert shelf["box"]["default"] == {"room": 1, "items": [{"name": "only"}]}
    assert "default" not in shelf["spare"]
    assert shelf["spare"]["description"] == "Another one.\nA box of items."


def test_what_a_program_reports_has_no_defaults() -> None:
    assert not [node for node in nodes(structural(Shelf, defaults=False)) if "default" in node]


class Unbounded(ApiModel):
    text: str = Field(description="Of any length.")


class Endless(ApiModel):
    items: list[Name] = Field(description="Of any number.")


class Undescribed(ApiModel):
    text: Name


class Either(ApiModel):
    value: Name | Annotated[list[Name], Field(max_length=2)] = Field(description="One or the other.")


class Weightless(ApiModel):
    weight: float | None = Field(0.5, description="Its weight; null weighs nothing, where a client has not taken it out.")


class Pair(ApiModel):
    pair: tuple[int, int] = Field(description="Two numbers.")


class Even(ApiModel):
    number: int = Field(multiple_of=2, description="An even one.")


class Shorthand(ApiModel):
    text: Annotated[str, StringConstraints(pattern=r"^\w+$", max_length=9)] = Field(description="Letters, but whose?")


class Loose(ApiModel):
    text: Annotated[str, StringConstraints(pattern="[a-z]", max_length=9)] = Field(description="A letter somewhere.")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Unbounded, "Unbounded.text has no maxLength"),
        (Endless, "Endless.items has no maxItems"),
        (Undescribed, "Undescribed.text has no description"),
        (Either, "Either.value: a union is said by optional fields and a rule"),
        (Weightless, "Weightless.weight: null is a field's absence, so a field that takes it has no other default"),
        (Pair, "Pair.pair: prefixItems has no structural form"),
        (Even, "Even.number: multipleOf has no structural form"),
        (Shorthand, "is not anchored, or has a class that engines read differently"),
        (Loose, "is not anchored, or has a class that engines read differently"),
    ],
)
def test_what_the_api_server_could_not_check_is_not_generated(model: type[ApiModel], words: str) -> None:
    with pytest.raises(NotStructuralError, match=r"^\w+\.") as refused:
        structural(model)
    assert words in str(refused.value)
