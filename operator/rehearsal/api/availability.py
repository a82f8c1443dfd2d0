"""Which parts of the resource this release does not carry out yet. They are refused by name: nothing is silently ignored."""

from collections.abc import Iterator

from rehearsal.api.run import MixtureUnit, RunSpec


def unavailable(spec: RunSpec) -> Iterator[tuple[str, str]]:
    """Yield (field path, what to do instead) for every field that is set and not carried out yet."""
    yield from _models(spec)
    yield from _filters(spec)
    if spec.mixture.unit is not MixtureUnit.SAMPLES:
        yield "spec.mixture.unit", "use Samples"
    if spec.evaluation.max_forgetting is not None:
        yield "spec.evaluation.maxForgetting", "read the forgetting from the report"
    if spec.scheduling.topology:
        yield "spec.scheduling.topology", "leave it out"


def _models(spec: RunSpec) -> Iterator[tuple[str, str]]:
    uris = {"spec.baseModel.uri": spec.base_model.uri}
    for i, member in enumerate(spec.reconstructed.committee.members if spec.reconstructed else ()):
        if member.model:
            uris[f"spec.rehearsal.reconstructed.committee.members[{i}].model.uri"] = member.model.uri
    for path, uri in uris.items():
        if uri.startswith("run://"):
            yield path, f"name the model of {uri} by its place in the store, as store://path"


def _filters(spec: RunSpec) -> Iterator[tuple[str, str]]:
    if not (made := spec.reconstructed):
        return
    root = "spec.rehearsal.reconstructed.filters"
    if made.filters.near_duplicates:
        yield f"{root}.nearDuplicates", "use exactDuplicates"
    if made.filters.languages:
        yield f"{root}.languages", "leave it out"
    if made.filters.decontaminate:
        yield f"{root}.decontaminate", "leave it out"
