"""A pydantic model as a structural schema of Kubernetes (OpenAPI v3 as `apiextensions.k8s.io/v1` has it).

What pydantic emits and Kubernetes refuses is converted without loss, or generation fails: a keyword that is not known here
is never dropped. Strings, lists and maps must be bounded, because the API server prices CEL rules by what they could read, and
every field must be described, because `kubectl explain` shows nothing else.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from rehearsal.api.model import ApiModel, SpecModel

Schema = dict[str, Any]

ORDER = (
    *("description", "type", "format", "enum", "default", "pattern"),
    *("minLength", "maxLength", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"),
    *("minItems", "maxItems", "minProperties", "maxProperties"),
    *("x-kubernetes-preserve-unknown-fields", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
    *("x-kubernetes-validations", "required", "properties", "items", "additionalProperties"),
)
"""The keywords of a structural schema that models give rise to, in the order they are written."""

SCALARS = frozenset({"boolean", "integer", "number", "string"})
UNLIKE = re.compile(r"\\[wWsSdDbB]")
"""ASCII to RE2, Unicode to Rust."""

BOUNDS = {"string": "maxLength", "array": "maxItems", "object": "maxProperties"}


class NotStructuralError(Exception):
    """A model says something that the API server could not check; the text names the field."""


def structural(model: type[ApiModel], *, defaults: bool = True) -> Schema:
    """Return the schema of a model's camelCase form, whole, with the models' docstrings as descriptions of objects.

    Without `defaults` none are written: what a program reports must not seem to say more than it said.
    """
    emitted = model.model_json_schema(by_alias=True, schema_generator=_WithMadeDefaults)
    return _Conversion(emitted.pop("$defs", {}), defaults).node(emitted, model.__name__)


class _WithMadeDefaults(GenerateJsonSchema):
    """Also writes what a `default_factory` makes."""

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> object:
        factory = schema.get("default_factory")
        return factory() if factory else super().get_default_value(schema)  # type: ignore[call-arg]

    def encode_default(self, dft: object) -> object:
        if isinstance(dft, SpecModel):
            return {name: self.encode_default(value) for name, value in _stated(dft)}
        return [self.encode_default(item) for item in dft] if isinstance(dft, list) else super().encode_default(dft)


def _stated(model: SpecModel) -> Iterator[tuple[str, object]]:
    """Yield what a default must say: what differs from the fields' own defaults, which the API server adds by itself.

    Where there are rules, everything: the server holds them against the default before it adds anything.
    """
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if value is not None and (model.rules or value != field.get_default(call_default_factory=True)):
            yield field.alias or name, value


class _Conversion:
    """One walk over what pydantic emitted, its `$defs` at hand."""

    def __init__(self, definitions: Mapping[str, JsonSchemaValue], defaults: bool) -> None:
        self.definitions = definitions
        self.defaults = defaults

    def node(self, emitted: JsonSchemaValue, path: str) -> Schema:
        """Return the structural form of one value's schema."""
        emitted = self._whole(emitted, path)
        made: Schema = {"format": "int64"} if emitted.get("type") == "integer" else {}
        for keyword, value in emitted.items():
            made |= self._converted(keyword, value, path)
        _checkable(made, path)
        return {keyword: made[keyword] for keyword in ORDER if keyword in made}

    def _converted(self, keyword: str, value: Any, path: str) -> Schema:  # noqa: ANN401 (whatever JSON Schema holds)
        """Return the structural keywords that say the same as this one; NotStructuralError if there are none."""
        match keyword:
            case "properties":
                return {keyword: {name: self._field(inner, f"{path}.{name}") for name, inner in value.items()}}
            case "items":
                return {keyword: self.node(value, f"{path}[]")}
            case "additionalProperties" if value is False:
                return {}  # the server prunes unknown fields, and refuses them where the client asks for strict validation
            case "additionalProperties":
                return {keyword: self.node(value, f"{path}{{}}")}
            case "exclusiveMinimum" | "exclusiveMaximum":
                return {keyword.removeprefix("exclusive").lower(): value, keyword: True}
            case "default" if not self.defaults:
                return {}
            case "title":
                return {}
            case _ if keyword in ORDER:
                return {keyword: value}
        raise NotStructuralError(f"{path}: {keyword} has no structural form")

    def _field(self, emitted: JsonSchemaValue, path: str) -> Schema:
        made = self.node(emitted, path)
        if not made.get("description"):
            raise NotStructuralError(f"{path} has no description")
        return made

    def _whole(self, emitted: JsonSchemaValue, path: str) -> JsonSchemaValue:
        """Return the schema with its reference resolved, and its union with null read as the field's absence."""
        emitted = dict(emitted)
        if kinds := emitted.pop("anyOf", None):
            emitted = self._chosen(kinds, emitted, path)
        if reference := emitted.pop("$ref", None):
            definition = self.definitions[reference.removeprefix("#/$defs/")]
            emitted = {**definition, **emitted, "description": _described(emitted, definition)}
        return _with_rule_on_keys(emitted) if "patternProperties" in emitted else emitted

    def _chosen(self, kinds: list[JsonSchemaValue], field: JsonSchemaValue, path: str) -> JsonSchemaValue:
        """Return what a union comes to: an optional field, or any scalar.

        Nowhere does null mean something else than absence: client-side apply takes every null out of a manifest.
        """
        others = [kind for kind in kinds if kind != {"type": "null"}]
        if len(others) == 1:
            if field.get("default", ...) is not None:
                raise NotStructuralError(f"{path}: null is a field's absence, so a field that takes it has no other default")
            return {**others[0], **{key: value for key, value in field.items() if value is not None}}
        if len(others) == len(kinds) and all(kind.keys() == {"type"} and kind["type"] in SCALARS for kind in kinds):
            return {**field, "x-kubernetes-preserve-unknown-fields": True}
        raise NotStructuralError(f"{path}: a union is said by optional fields and a rule")


def _described(field: JsonSchemaValue, definition: JsonSchemaValue) -> str:
    """Return a field's description, followed by its class's where that is an object and says more."""
    said, told = field.get("description", ""), definition.get("description", "")
    if "properties" not in definition:
        return str(said or told)
    return str(told if told.startswith(said.removesuffix(".")) else f"{said}\n{told}")


def _with_rule_on_keys(emitted: JsonSchemaValue) -> JsonSchemaValue:
    """Return a map's schema with the bounds of its keys as a rule: a structural schema can say nothing of keys."""
    [(pattern, value)], longest = emitted["patternProperties"].items(), emitted["propertyNames"]["maxLength"]
    rule = {
        "rule": f"self.all(key, key.size() <= {longest} && key.matches({json.dumps(pattern)}))",
        "message": f"a key has at most {longest} characters and matches {pattern}",
    }
    said = {key: kept for key, kept in emitted.items() if key not in ("patternProperties", "propertyNames")}
    return {**said, "additionalProperties": value, "x-kubernetes-validations": [rule]}


def _checkable(made: Schema, path: str) -> None:
    """Raise where a value could be of any size, or where a pattern could mean something else to RE2 than to Rust."""
    bound, pattern = BOUNDS.get(made.get("type", "")), made.get("pattern", "^$")
    if bound and bound not in made and "properties" not in made and "enum" not in made:
        raise NotStructuralError(f"{path} has no {bound}")
    if not (pattern.startswith("^") and pattern.endswith("$")) or UNLIKE.search(pattern):
        raise NotStructuralError(f"{path}: {pattern} is not anchored, or has a class that engines read differently")
