"""Fingerprints: the identity of a stage's output, known before anything runs, and in words why it changed."""

import hashlib
import json
from collections.abc import Mapping, Sequence

from rehearsal.pipeline.stage import VERSIONS, Stage

READ = "stage "
"""How the part of a fingerprint is called that is another stage's."""


def canonical(value: object) -> bytes:
    """Return the one JSON form of a value: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def fingerprints(stages: Sequence[Stage], inputs: Mapping[str, str]) -> dict[str, str]:
    """Return stage name -> fingerprint: SHA-256 over the kind, its version, its fields, and what it reads.

    `inputs` holds the digest of every external input. Stages are given in reading order. Because a stage enters the
    next one's fingerprint by its own fingerprint and not by its output, all are known before anything runs.
    """
    known: dict[str, str] = {}
    for stage in stages:
        known[stage.name] = digest(
            {
                "kind": stage.kind,
                "version": VERSIONS[stage.kind],
                "fields": dict(stage.fields),
                "external": {label: inputs[name] for label, name in stage.external.items()},
                "inputs": {label: known[name] for label, name in stage.inputs.items()},
            }
        )
    return known


def parts(stage: Stage, inputs: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Return what a fingerprint is made of, by path, each as eight hex digits: enough to name what changed later."""
    whole: dict[str, object] = {f"spec.{path}": value for path, value in stage.fields.items()}
    whole |= {f"input {name}": inputs[name] for name in stage.external.values()}
    whole |= {f"{READ}{name}": known[name] for name in stage.inputs.values()}
    whole["release"] = VERSIONS[stage.kind]
    return {path: part_of(value) for path, value in sorted(whole.items())}


def part_of(value: object) -> str:
    """Return one part of a fingerprint as `parts` has it."""
    return digest(value)[:8]


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Say in words which parts differ, or nothing."""
    differing = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    if not differing:
        return ""
    named = ", ".join(differing[:4]) + (f" and {len(differing) - 4} more" if len(differing) > 4 else "")
    return f"{named} changed"


def served_model_name(stage: Stage, inputs: Mapping[str, str], known: Mapping[str, str]) -> str:
    """Return the name an engine serves the stage's model under: its digest, so that a client knows which model answers.

    Behind an endpoint it is the endpoint's own name for it.
    """
    if stage.endpoint:
        return stage.endpoint.model
    identity = inputs[stage.external["model"]] if "model" in stage.external else known[stage.inputs["model"]]
    return f"model-{identity[:16]}"


def output_path(namespace: str, stage: Stage, known: Mapping[str, str]) -> str:
    """Return where a stage's output lies in the store, relative to its root."""
    return f"{namespace}/{stage.kind}/{known[stage.name]}"
