"""Which parts of the resource this release does not carry out yet. They are refused by name: nothing is silently ignored."""

from collections.abc import Iterator

from rehearsal.api.run import MixtureUnit, RunSpec


def unavailable(spec: RunSpec) -> Iterator[tuple[str, str]]:
    """Yield (field path, what to do instead) for every field that is set and not carried out yet."""
    yield from _sources(spec)
    yield from _reconstruction(spec)
    if spec.mixture.unit is not MixtureUnit.SAMPLES:
        yield "spec.mixture.unit", "use Samples"
    if spec.evaluation.suite:
        yield "spec.evaluation.suite", "name task files in spec.evaluation.tasks"
    if spec.evaluation.max_forgetting is not None:
        yield "spec.evaluation.maxForgetting", "read the forgetting from the report"
    if spec.training.nodes > 1:
        yield "spec.training.nodes", "train on one node"
    if spec.scheduling.topology:
        yield "spec.scheduling.topology", "leave it out"


def _sources(spec: RunSpec) -> Iterator[tuple[str, str]]:
    uris = {"spec.baseModel.uri": spec.base_model.uri, "spec.domain.uri": spec.domain.uri}
    if spec.categories:
        uris["spec.categories.uri"] = spec.categories.uri
    uris |= {f"spec.evaluation.tasks[{i}].uri": task.uri for i, task in enumerate(spec.evaluation.tasks)}
    if spec.reconstructed:
        for i, member in enumerate(spec.reconstructed.committee.members):
            if member.model:
                uris[f"spec.rehearsal.reconstructed.committee.members[{i}].model.uri"] = member.model.uri
    if dataset := spec.rehearsal.dataset:
        if dataset.preset:
            yield "spec.rehearsal.dataset.preset", "copy the data set into the store and name it by uri"
        uris["spec.rehearsal.dataset.uri"] = dataset.uri or "store://"
    for path, uri in uris.items():
        if not uri.startswith("store://"):
            yield path, f"copy {uri} into the store and name it as store://path"


def _reconstruction(spec: RunSpec) -> Iterator[tuple[str, str]]:
    if not (made := spec.reconstructed):
        return
    root = "spec.rehearsal.reconstructed"
    if made.filters.near_duplicates:
        yield f"{root}.filters.nearDuplicates", "use exactDuplicates"
    if made.filters.languages:
        yield f"{root}.filters.languages", "leave it out"
    if made.filters.decontaminate:
        yield f"{root}.filters.decontaminate", "leave it out"
    for i, member in enumerate(made.committee.members):
        if member.endpoint:
            yield f"{root}.committee.members[{i}].endpoint", "use a model from the store"
