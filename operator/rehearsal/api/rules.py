"""What must hold between the parts of an object: said once, checked here and, in CEL or by the list's type, by the API server.

A bound on one field is that field's own (`Field(ge=1)`); only what crosses fields or list items needs a rule.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class Rule:
    """One sentence about an object, as a Python predicate and as CEL over its camelCase form, where `self` is the object.

    The sentence is what a person reads when it does not hold. The API server fills in defaults before it asks, so `cel` may
    read a field with a default as it stands; one that may be absent needs `has()`.
    """

    message: str
    cel: str
    holds: Callable[[Any], bool]

    def schema(self) -> dict[str, str]:
        """Return the entry of `x-kubernetes-validations`."""
        return {"rule": self.cel, "message": self.message}


@dataclass(frozen=True)
class Unique:
    """Annotates a list whose items differ: by one field of theirs (`Unique("name")`), or as a whole."""

    key: str | None = None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the list after its items."""
        return core_schema.no_info_after_validator_function(self._differ, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say it to the API server, which then merges the list item by item too."""
        if self.key is None:
            return handler(schema) | {"x-kubernetes-list-type": "set"}
        return handler(schema) | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}

    def _differ(self, items: list[Any]) -> list[Any]:
        seen: Sequence[Hashable] = [getattr(item, self.key) if self.key else item for item in items]
        if twice := sorted({str(value) for value in seen if seen.count(value) > 1}):
            raise ValueError(f"items differ in {self.key}; twice: {', '.join(twice)}" if self.key else f"twice: {', '.join(twice)}")
        return items
