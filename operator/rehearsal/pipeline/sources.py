"""Where models and data sets come from: the store, or a hub, from which a stage of its own brings them into the store once.

Only `fetch` pods hold a hub's token and reach it; every other stage reads what they sealed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rehearsal.api.run import RunSpec
from rehearsal.pipeline.knobs import fields_of
from rehearsal.pipeline.stage import Kind, Stage

HUB = "hf://"


@dataclass(frozen=True)
class Source:
    """One model or data set: an external input of the run by name, or the stage that brings it."""

    external: str | None = None
    stage: str | None = None

    def outside(self, label: str) -> dict[str, str]:
        """Return what a stage that reads it under this label puts among its external inputs."""
        return {label: self.external} if self.external else {}

    def inside(self, label: str) -> dict[str, str]:
        """Return what a stage that reads it under this label puts among the stages it reads."""
        return {label: self.stage} if self.stage else {}


@dataclass
class Sources:
    """Everything that a run reads and did not make. Models of one commit share one fetch: it is a digest of all their files.

    `hub` says from where a fetch stage brings its model.
    """

    external: dict[str, str] = field(default_factory=dict)
    fetches: dict[str, Stage] = field(default_factory=dict)
    models: dict[str, Source] = field(default_factory=dict)
    hub: dict[str, str] = field(default_factory=dict)

    def add_model(self, name: str, uri: str) -> None:
        """Add a model under the name of its external input, `baseModel` or `model-<member>`."""
        if not uri.startswith(HUB):
            self.external[name] = uri
            self.models[name] = Source(external=name)
            return
        stage, commit = "fetch-base" if name == "baseModel" else f"fetch-{name}", uri.rpartition("@")[2]
        fetch = self.fetches.setdefault(commit, Stage(stage, Kind.FETCH, fields={"model.commit": commit}, subject="model"))
        self.hub.setdefault(fetch.name, uri)
        self.models[name] = Source(stage=fetch.name)


def sources_of(spec: RunSpec) -> Sources:
    """Return where a run's models and data come from."""
    found = Sources()
    found.add_model("baseModel", spec.base_model.uri)
    for member in spec.reconstructed.committee.members if spec.reconstructed else ():
        if member.model:
            found.add_model(f"model-{member.name}", member.model.uri)
    found.external["domain"] = spec.domain.uri
    if (dataset := spec.rehearsal.dataset) and dataset.uri:
        found.external["dataset"] = dataset.uri
    found.external |= {f"task-{task.name}": task.uri for task in spec.evaluation.tasks}
    if spec.categories:
        found.external["categories"] = spec.categories.uri
    return found


def external_inputs(spec: RunSpec) -> Mapping[str, str]:
    """Return name -> URI of everything a run reads from the store that it did not make."""
    return sources_of(spec).external


def fetch_stages(spec: RunSpec) -> Iterator[Stage]:
    """Yield a stage for everything that comes from a hub: models, the preset data set, the suite's questions."""
    yield from sources_of(spec).fetches.values()
    if (dataset := spec.rehearsal.dataset) and dataset.preset:
        chosen = fields_of(dataset, "rehearsal.dataset", but={"format", "count"})
        yield Stage("fetch-dataset", Kind.FETCH, fields=chosen, subject="dataset")
    if spec.evaluation.suite:
        named = fields_of(spec.evaluation, "evaluation", but={"tasks", "limit"})
        yield Stage("fetch-suite", Kind.FETCH, fields=named, subject="suite")
