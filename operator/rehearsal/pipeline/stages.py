"""The stage table of a run: what each stage reads, what it is made of, which model its engine serves.

A stage's `fields` are the spec fields that can change its output, by path; nothing else enters its fingerprint.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil

from rehearsal.api.reconstruction import Member, Pruning, Reconstructed
from rehearsal.api.run import RunSpec
from rehearsal.api.serving import Model, Serving

MAX_ROUNDS = 4
"""Rounds of elicitation before a run that stays short of instructions fails."""
ROWS_PER_SHARD = 500
"""Rows a shard of a sampled stage holds: some minutes of a 70B model's work, and so the most a killed pod loses."""


class Kind(StrEnum):
    """The program that carries out a stage: `python -m rehearsal.worker <kind>`."""

    PREFLIGHT = "preflight"
    ELICIT = "elicit"
    FILTER = "filter"
    RESPOND = "respond"
    JUDGE = "judge"
    SELECT = "select"
    MIX = "mix"
    TRAIN = "train"
    EVALUATE = "evaluate"
    REPORT = "report"


VERSIONS: Mapping[Kind, int] = dict.fromkeys(Kind, 1)
"""Bumped by hand when a program's output changes meaning; enters the fingerprint."""

ENGINE_KINDS = frozenset({Kind.ELICIT, Kind.RESPOND, Kind.JUDGE, Kind.EVALUATE})
"""Stages whose pods run vLLM beside the client."""


@dataclass(frozen=True)
class Stage:
    """One stage. `external` and `inputs` map a label (part of the fingerprint) to an external input or a stage."""

    name: str
    kind: Kind
    fields: Mapping[str, object] = field(default_factory=dict)
    external: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    subject: str | None = None
    serving: Serving | None = None
    round: int = 1

    @property
    def replicas(self) -> int:
        """Worker slots."""
        return self.serving.replicas if self.serving and self.kind is not Kind.EVALUATE else 1


def stages_of(spec: RunSpec, rounds: int = 1) -> tuple[Stage, ...]:
    """Return the sealed stages of a run in an order in which each reads only earlier ones. Preflight is not among them."""
    stages: list[Stage] = []
    if made := spec.reconstructed:
        stages += _reconstruction(spec, made, rounds)
    stages += [_mix(spec), _train(spec)]
    if spec.evaluation.tasks:
        stages += [_evaluate(spec, "base"), _evaluate(spec, "tuned")]
    return (*stages, _report(spec, stages))


def external_inputs(spec: RunSpec) -> dict[str, str]:
    """Return name -> URI of everything a run reads that it did not make."""
    found = {"baseModel": spec.base_model.uri, "domain": spec.domain.uri}
    if spec.reconstructed:
        found |= {f"model-{m.name}": m.model.uri for m in spec.reconstructed.committee.members if m.model}
    if spec.rehearsal.dataset and spec.rehearsal.dataset.uri:
        found["dataset"] = spec.rehearsal.dataset.uri
    found |= {f"task-{task.name}": task.uri for task in spec.evaluation.tasks}
    if spec.categories:
        found["categories"] = spec.categories.uri
    return found


def member_input(member: Member) -> str:
    """Return the external input that is this member's model."""
    return "baseModel" if member.base else f"model-{member.name}"


def member_model(spec: RunSpec, member: Member) -> Model:
    """Return the model of a committee member."""
    return member.model or spec.base_model


def judges(made: Reconstructed) -> tuple[Member, ...]:
    """Return the members that judge, in the committee's order."""
    chosen = made.judging.judges
    return tuple(m for m in made.committee.members if not chosen or m.name in chosen)


def round_rows(count: int, round_: int) -> int:
    """Return how many instructions a round elicits: a twentieth more than asked at first, a quarter of the count after that."""
    return ceil(count * 1.05) + 8 if round_ == 1 else ceil(count * 0.25) + 8


def _seed(spec: RunSpec) -> dict[str, object]:
    return {"seed": spec.seed, "rerun": spec.rerun}


def _engine(model: Model, path: str) -> dict[str, object]:
    return {f"{path}.serving.dtype": model.serving.dtype, f"{path}.serving.maxModelLen": model.serving.max_model_len}


def _reconstruction(spec: RunSpec, made: Reconstructed, rounds: int) -> Iterator[Stage]:
    root = "rehearsal.reconstructed"
    for number in range(1, rounds + 1):
        yield Stage(
            name="elicit" if number == 1 else f"elicit-{number}",
            kind=Kind.ELICIT,
            fields={
                f"{root}.count": made.count,
                f"{root}.preQuery": made.pre_query.wire(),
                f"{root}.sampling": made.sampling.wire(),
                "round": number,
                **_engine(spec.base_model, "baseModel"),
                **_seed(spec),
            },
            external={"model": "baseModel"},
            serving=spec.base_model.serving,
            round=number,
        )
    yield Stage(
        name="filter",
        kind=Kind.FILTER,
        fields={f"{root}.count": made.count, f"{root}.filters": made.filters.wire()},
        external={"model": "baseModel"},
        inputs={"elicited": "elicit"},
    )
    members = made.committee.members
    for member in members:
        yield _respond(spec, made, member)
    answers = {f"responses.{i}": f"respond-{m.name}" for i, m in enumerate(members)}
    judged: dict[str, str] = {}
    for i, judge in enumerate(judges(made)):
        earlier = dict(judged) if made.judging.pruning is Pruning.LOSSLESS else {}
        yield _judge(spec, made, judge, {"instructions": "filter", **answers, **earlier})
        judged[f"verdicts.{i}"] = f"judge-{judge.name}"
    yield Stage(
        name="select",
        kind=Kind.SELECT,
        fields={
            f"{root}.judging.selfJudging": made.judging.self_judging,
            f"{root}.judging.minJudges": made.judging.min_judges,
            f"{root}.committee.members": _identities(made),
        },
        inputs={"instructions": "filter", **answers, **judged},
    )


def _identities(made: Reconstructed) -> list[object]:
    """What selection knows of the members: their order, which one is the base model, which ones judge."""
    judging = {m.name for m in judges(made)}
    return [{"name": m.name, "base": m.base, "judges": m.name in judging} for m in made.committee.members]


def _respond(spec: RunSpec, made: Reconstructed, member: Member) -> Stage:
    root = "rehearsal.reconstructed.committee"
    model = member_model(spec, member)
    return Stage(
        name=f"respond-{member.name}",
        kind=Kind.RESPOND,
        fields={
            f"{root}.responsesPerMember": made.committee.responses_per_member,
            f"{root}.sampling": made.committee.sampling.wire(),
            **_engine(model, "model"),
            **_seed(spec),
        },
        external={"model": member_input(member)},
        inputs={"instructions": "filter"},
        subject=member.name,
        serving=model.serving,
    )


def _judge(spec: RunSpec, made: Reconstructed, judge: Member, inputs: Mapping[str, str]) -> Stage:
    root, model = "rehearsal.reconstructed.judging", member_model(spec, judge)
    pruned: dict[str, object] = {}
    if made.judging.pruning is Pruning.LOSSLESS:
        pruned = {
            f"{root}.minJudges": made.judging.min_judges,
            f"{root}.selfJudging": made.judging.self_judging,
            "committee": _identities(made),
            "judge": judge.name,
        }
    return Stage(
        name=f"judge-{judge.name}",
        kind=Kind.JUDGE,
        fields={
            f"{root}.mode": made.judging.mode,
            f"{root}.rubric": made.judging.rubric,
            f"{root}.maxTokens": made.judging.max_tokens,
            f"{root}.pruning": made.judging.pruning,
            **pruned,
            **_engine(model, "model"),
            **_seed(spec),
        },
        external={"model": member_input(judge)},
        inputs=inputs,
        subject=judge.name,
        serving=model.serving,
    )


def _mix(spec: RunSpec) -> Stage:
    external = {"domain": "domain", "tokenizer": "baseModel"}
    inputs: dict[str, str] = {}
    dataset: dict[str, object] = {}
    if spec.reconstructed:
        inputs["rehearsal"] = "select"
    elif spec.rehearsal.dataset:
        external["rehearsal"] = "dataset"
        dataset = {"rehearsal.dataset": spec.rehearsal.dataset.wire()}
    return Stage(
        name="mix",
        kind=Kind.MIX,
        fields={
            "mixture": spec.mixture.wire(),
            "domain.format": spec.domain.format,
            "training.sequenceLength": spec.training.sequence_length,
            **dataset,
            **_seed(spec),
        },
        external=external,
        inputs=inputs,
    )


def _train(spec: RunSpec) -> Stage:
    training = spec.training
    return Stage(
        name="train",
        kind=Kind.TRAIN,
        fields={
            "training.epochs": training.epochs,
            "training.learningRate": training.learning_rate,
            "training.warmupFraction": training.warmup_fraction,
            "training.globalBatch": training.global_batch,
            "training.sequenceLength": training.sequence_length,
            "training.packing": training.packing,
            "training.ranks": training.nodes * training.processes_per_node,
            **_seed(spec),
        },
        external={"model": "baseModel"},
        inputs={"mix": "mix"},
    )


def _evaluate(spec: RunSpec, subject: str) -> Stage:
    tasks = spec.evaluation.tasks
    external = {f"task.{task.name}": f"task-{task.name}" for task in tasks}
    return Stage(
        name=f"evaluate-{subject}",
        kind=Kind.EVALUATE,
        fields={
            "evaluation.limit": spec.evaluation.limit,
            "evaluation.tasks": [{"name": task.name, "role": task.role} for task in tasks],
            **_engine(spec.base_model, "model"),
        },
        external=external | ({"model": "baseModel"} if subject == "base" else {}),
        inputs={} if subject == "base" else {"model": "train"},
        subject=subject,
        serving=spec.base_model.serving,
    )


def _report(spec: RunSpec, stages: list[Stage]) -> Stage:
    return Stage(
        name="report",
        kind=Kind.REPORT,
        external={"categories": "categories"} if spec.categories and spec.reconstructed else {},
        inputs={stage.name: stage.name for stage in stages if not stage.name.startswith("elicit-")},
    )
