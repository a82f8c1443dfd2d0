"""The schema of the chart's values: the platform's part from its model, the rest by hand. `make manifests` writes it.

Draft 7, without references: every Helm 3 and 4 reads it, and names what it refuses by the path in the values.
Not covered: what only the operator checks when it starts, such as a toleration that needs a key.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

from rehearsal.api.platform import EndpointConfig, Platform

Schema = dict[str, Any]

KEPT = ("description", "default", "pattern", "enum", "required", "additionalProperties")
BOUNDS = ("minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "minItems", "maxItems")
DROPPED = ("title", "x-kubernetes-validations")

NAME = "^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$"
"""What a run can call a store or an endpoint by: `rehearsal.api.names.Name`, bound included."""
BOOLEAN: Schema = {"type": "boolean"}
TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
NAMESPACE: Schema = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
QUANTITY: Schema = {"type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"}


def values_schema() -> Schema:
    """Return the schema of values.yaml."""
    parts = {
        "runNamespaces": _list(NAMESPACE) | {"uniqueItems": True},
        "crds": _closed({"install": BOOLEAN, "keep": BOOLEAN}),
        "image": _image(),
        "imagePullSecrets": _list(_closed({"name": TEXT})),
        "platform": _platform(),
        "workerServiceAccount": _worker_service_account(),
        "networkPolicy": _network_policy(),
        "logFormat": {"enum": ["json", "text"]},
        "sweepSeconds": {"type": "number", "minimum": 1, "maximum": 600},
        "resources": _closed({"requests": _quantities(), "limits": _quantities()}),
        "nodeSelector": TEXTS,
        "tolerations": _platform()["properties"]["device"]["properties"]["tolerations"],
        "priorityClassName": TEXT,
        "metrics": _closed({"serviceMonitor": BOOLEAN}),
    }
    required = ["crds", "image", "platform", "workerServiceAccount", "networkPolicy", "metrics"]
    # Helm hands `global` to every chart that another one includes.
    top = _closed(parts | {"global": {"type": "object"}}) | {"required": required}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart rehearsal", **top}


def plain(emitted: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Return what pydantic emitted without references, titles and unions with null. A keyword unknown here is an error."""
    if "$ref" in emitted:
        emitted = {**definitions[emitted["$ref"].rpartition("/")[2]], **emitted}
        del emitted["$ref"]
    if "anyOf" in emitted:
        return _nullable(emitted, definitions)
    made: Schema = {}
    for keyword, value in emitted.items():
        if keyword == "properties":
            made[keyword] = {name: plain(inner, definitions) for name, inner in value.items()}
        elif keyword == "items" or (keyword == "additionalProperties" and value is not False):
            made[keyword] = plain(value, definitions)
        elif keyword in ("type", *KEPT, *BOUNDS):
            made[keyword] = value
        elif keyword not in DROPPED:
            raise ValueError(f"{keyword}: not known to the schema of the values")
    return made


def _nullable(emitted: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """A value or null, in one: the refusal of a union names every branch, and so hides what is wrong."""
    value, null = emitted["anyOf"]
    if null != {"type": "null"}:
        raise ValueError(f"only a union with null is known, not {emitted['anyOf']}")
    made = plain(value, definitions) | plain({key: text for key, text in emitted.items() if key == "description"}, definitions)
    made["type"] = [made["type"], "null"]
    return made | ({"enum": [*made["enum"], None]} if "enum" in made else {})


def _platform() -> Schema:
    emitted = Platform.model_json_schema(by_alias=True)
    platform = plain(emitted, emitted.pop("$defs"))
    properties = platform["properties"]
    # No pod mounts a folder of its node.
    store = properties["stores"]["additionalProperties"]
    store["properties"]["s3"] |= {"type": "object"}
    del store["properties"]["folder"]
    store["required"] = ["s3"]
    allow = EndpointConfig.model_fields["allow_http"].alias
    allowed = {"required": [allow], "properties": {allow: {"const": True}}}
    properties["endpoints"]["additionalProperties"] |= {"if": {"properties": {"url": {"pattern": "^http:"}}}, "then": allowed}
    for named in ("stores", "endpoints"):
        inner = properties[named]["additionalProperties"]
        properties[named] |= {"patternProperties": {NAME: inner}, "additionalProperties": False}
    for image in properties["images"]["properties"].values():
        del image["default"]  # it is the chart's: of its own version
    return platform


def _image() -> Schema:
    return _closed(
        {
            "repository": TEXT | {"minLength": 1},
            "tag": TEXT,
            "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
            "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        }
    ) | {"required": ["repository"]}


def _worker_service_account() -> Schema:
    annotated = _closed({"annotations": TEXTS})
    own = {"type": "object", "patternProperties": {NAMESPACE["pattern"]: annotated}, "additionalProperties": False}
    return _closed({"annotations": TEXTS, "namespaces": own})


def _network_policy() -> Schema:
    expression = _closed({"key": TEXT, "operator": {"enum": ["In", "NotIn", "Exists", "DoesNotExist"]}, "values": _list(TEXT)})
    selector = _closed({"matchLabels": TEXTS, "matchExpressions": _list(expression)})
    block = _closed({"cidr": TEXT, "except": _list(TEXT)})
    peer = _closed({"ipBlock": block, "namespaceSelector": selector, "podSelector": selector})
    port = _closed({"port": {"type": ["integer", "string"]}, "endPort": {"type": "integer"}, "protocol": {"enum": ["TCP", "UDP"]}})
    rules = _list(_closed({"to": _list(peer), "ports": _list(port)}))
    endpoints = {"type": "object", "patternProperties": {NAME: rules}, "additionalProperties": False}
    return _closed({"enabled": BOOLEAN, "store": rules, "hub": rules, "endpoints": endpoints})


def _quantities() -> Schema:
    return _closed(dict.fromkeys(("cpu", "memory", "ephemeral-storage"), QUANTITY))


def _closed(properties: Mapping[str, Schema]) -> Schema:
    """An object of these keys and no other."""
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(values_schema(), indent=2, ensure_ascii=False) + "\n")
