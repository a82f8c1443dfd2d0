"""The pydantic shapes of the API: frozen, camelCase on the wire, unknown fields refused; what a person writes is read strictly."""

from enum import StrEnum
from functools import cache
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from rehearsal.api.rules import Rule


class ApiModel(BaseModel):
    """Frozen; read and written with camelCase keys; a field that does not exist is an error that names it."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )

    def wire(self) -> dict[str, object]:
        """Return the JSON form with camelCase keys, without fields that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class SpecModel(ApiModel):
    """A part of a run's spec, read as the API server reads it, so that one manifest means the same in both places.

    No text for a number; 2.0 for the integer 2; an explicit null for an absent field.
    """

    model_config = ConfigDict(strict=True)

    rules: ClassVar[tuple[Rule, ...]] = ()
    """What must hold across the fields."""

    @model_validator(mode="before")
    @classmethod
    def _read_as_the_api_server_does(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        known = _names(cls)
        present = {key: value for key, value in data.items() if value is not None or key not in known}
        return {key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in present.items()}

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        if broken := [rule.message for rule in self.rules if not rule.holds(self)]:
            raise ValueError("; ".join(broken))
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the rules to the schema."""
        found = handler.resolve_ref_schema(handler(schema))
        if cls.rules:
            found["x-kubernetes-validations"] = [rule.schema() for rule in cls.rules]
        return found


class Choice(StrEnum):
    """One of a few words. The word itself will do where a strict model asks for a member."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Lift the strictness."""
        return {**handler(source), "strict": False}


def without_nulls(given: object) -> object:
    """Return a map without the keys whose value is null, which the API server drops; for a `BeforeValidator`."""
    return {key: value for key, value in given.items() if value is not None} if isinstance(given, dict) else given


@cache
def _names(model: type[SpecModel]) -> frozenset[str | None]:
    """Return the names of a model's fields, in both spellings."""
    return frozenset(model.model_fields) | {field.alias for field in model.model_fields.values()}
