"""External inputs: the field that names each, its key in the store, and whose namespace it may lie under."""

from collections.abc import Iterator

from rehearsal.api.platform import StoreConfig
from rehearsal.api.run import RunSpec
from rehearsal.pipeline.sources import external_inputs

BASE = "baseModel"
SCHEME = "store://"


def key_of(uri: str) -> str:
    """Return the store key that a `store://` URI names."""
    return uri.removeprefix(SCHEME).strip("/")


def model_field(spec: RunSpec, name: str) -> str:
    """Return the spec field that names a model, by the name of its external input."""
    if name == BASE or not spec.reconstructed:
        return "spec.baseModel.uri"
    names = [member.name for member in spec.reconstructed.committee.members]
    return f"spec.rehearsal.reconstructed.committee.members[{names.index(name.removeprefix('model-'))}].model.uri"


def is_model(name: str) -> bool:
    """Tell whether an external input is a model: a folder of files, whose weights preflight does not read."""
    return name == BASE or name.startswith("model-")


def field_of(spec: RunSpec, name: str) -> str:
    """Return the spec field that names an external input."""
    if is_model(name):
        return model_field(spec, name)
    if name.startswith("task-"):
        index = [task.name for task in spec.evaluation.tasks].index(name.removeprefix("task-"))
        return f"spec.evaluation.tasks[{index}].uri"
    return {"dataset": "spec.rehearsal.dataset.uri"}.get(name, f"spec.{name}.uri")


def foreign(spec: RunSpec, namespace: str, store: StoreConfig) -> Iterator[tuple[str, str]]:
    """Yield (field, what is wrong) of everything in the store that a run of this namespace may not name.

    A store of one namespace is that namespace's whole. In a store that several share, a run reads below `<namespace>/`.
    """
    if store.namespaces and namespace not in store.namespaces:
        yield "spec.store", f"{spec.store!r} is a store of {_named(store)}; runs of {namespace} may not use it"
        return
    if len(store.namespaces) < 2:
        return
    for name, uri in external_inputs(spec).items():
        if not uri.startswith(f"{SCHEME}{namespace}/") or not _is_plain(key_of(uri)):
            yield (
                field_of(spec, name),
                f"{_named(store)} share the store {spec.store!r}: a run of {namespace} reads what lies under "
                f"{SCHEME}{namespace}/; copy it into that folder",
            )


def _is_plain(key: str) -> bool:
    return not any(part in ("", ".", "..") for part in key.split("/"))


def _named(store: StoreConfig) -> str:
    return " and ".join(sorted(store.namespaces))
