"""The stages that rebuild the alignment data: rounds of elicitation, filtering, answers and verdicts, and one selection.

A round carries all the way to verdicts, so that selection, which alone knows how many conversations are whole, may ask for another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from rehearsal.api.reconstruction import Member, Pruning, Reconstructed
from rehearsal.api.run import RunSpec
from rehearsal.api.serving import Model
from rehearsal.pipeline.knobs import draw_fields, fields_of
from rehearsal.pipeline.sources import sources_of
from rehearsal.pipeline.stage import MAX_ROUNDS, Kind, Stage

ROOT = "rehearsal.reconstructed"


def member_input(member: Member) -> str:
    """Return the external input that is this member's model."""
    return "baseModel" if member.base else f"model-{member.name}"


def member_model(spec: RunSpec, member: Member) -> Model:
    """Return the model of a committee member that has one, and is not behind an endpoint."""
    return member.model or spec.base_model


def judges(made: Reconstructed) -> tuple[Member, ...]:
    """Return the members that judge, in the committee's order; nobody where there is one answer and nothing to choose."""
    if len(made.committee.members) * made.committee.responses_per_member == 1:
        return ()
    chosen = made.judging.judges
    return tuple(m for m in made.committee.members if not chosen or m.name in chosen)


def round_rows(count: int, round_: int) -> int:
    """Return how many instructions a round elicits: a twentieth more than `count` at first, then a quarter, half and all of it.

    A function of the two alone, so that a round's identity does not depend on how many were lost in the rounds before it.
    """
    share = 1.05 if round_ == 1 else 0.5 ** max(0, MAX_ROUNDS - round_)
    return ceil(count * share) + 8


def stage_name(kind: Kind, round_: int, member: str = "") -> str:
    """Return the name of a round's stage: `judge-peer`, in the second round `judge2-peer`.

    The number stands in front of the first hyphen, where no member's name reaches: a member may be called `peer-2` or `2-peer`.
    """
    numbered = str(kind) if round_ == 1 else f"{kind}{round_}"
    return f"{numbered}-{member}" if member else numbered


@dataclass(frozen=True)
class Round:
    """The names of one round's stages; `responses` and `verdicts` are in the order of the members and of the judges."""

    number: int
    elicited: str
    instructions: str
    responses: tuple[str, ...]
    verdicts: tuple[str, ...]

    @classmethod
    def of(cls, made: Reconstructed, number: int) -> "Round":
        """Return the names of that round's stages."""
        return cls(
            number,
            stage_name(Kind.ELICIT, number),
            stage_name(Kind.FILTER, number),
            tuple(stage_name(Kind.RESPOND, number, member.name) for member in made.committee.members),
            tuple(stage_name(Kind.JUDGE, number, judge.name) for judge in judges(made)),
        )

    @property
    def judged(self) -> dict[str, str]:
        """What is read by whoever reads the whole round, by label."""
        return {"instructions": self.instructions, **_numbered("responses", self.responses), **_numbered("verdicts", self.verdicts)}


def reconstruction_stages(spec: RunSpec, made: Reconstructed, rounds: int) -> Iterator[Stage]:
    """Yield the stages that rebuild the alignment data, elicitation first and selection last.

    Selection is made of the first round: how many more it takes follows from that round and the spec, so it is no part of its identity.
    """
    for number in range(1, rounds + 1):
        yield from _round_stages(spec, made, Round.of(made, number))
    base = sources_of(spec).models["baseModel"]
    yield Stage(
        name="select",
        kind=Kind.SELECT,
        fields={
            **fields_of(made, ROOT, but={"pre_query", "sampling", "filters", "committee", "judging"}),
            **(fields_of(made.judging, f"{ROOT}.judging", but={"judges"}) if judges(made) else {}),
            f"{ROOT}.committee.members": _identities(made),
            "training.sequenceLength": spec.training.sequence_length,
        },
        external=base.outside("tokenizer"),
        inputs={**base.inside("tokenizer"), **Round.of(made, 1).judged},
    )


def _round_stages(spec: RunSpec, made: Reconstructed, names: Round) -> Iterator[Stage]:
    base = sources_of(spec).models["baseModel"]
    yield Stage(
        name=names.elicited,
        kind=Kind.ELICIT,
        fields={
            **fields_of(made, ROOT, but={"filters", "committee", "judging"}),
            "round": names.number,
            **fields_of(spec.base_model, "baseModel"),
            **draw_fields(spec),
        },
        external=base.outside("model"),
        inputs=base.inside("model"),
        serving=spec.base_model.serving,
        round=names.number,
    )
    earlier = [stage_name(Kind.FILTER, number) for number in range(1, names.number)] if made.filters.exact_duplicates else []
    yield Stage(
        name=names.instructions,
        kind=Kind.FILTER,
        fields=fields_of(made, ROOT, but={"count", "pre_query", "sampling", "committee", "judging"}),
        external=base.outside("model"),
        inputs={**base.inside("model"), "elicited": names.elicited, **_numbered("earlier", earlier)},
        round=names.number,
    )
    for member, name in zip(made.committee.members, names.responses, strict=True):
        yield _respond(spec, made, member, name, names)
    for judge, name in zip(judges(made), names.verdicts, strict=True):
        yield _judge(spec, made, judge, name, names)


def _numbered(label: str, names: Sequence[str]) -> dict[str, str]:
    return {f"{label}.{i}": name for i, name in enumerate(names)}


def _identities(made: Reconstructed) -> list[object]:
    """What selection knows of the members: their order, which one is the base model, which ones judge."""
    judging = {m.name for m in judges(made)}
    return [{"name": m.name, "base": m.base, "judges": m.name in judging} for m in made.committee.members]


def _respond(spec: RunSpec, made: Reconstructed, member: Member, name: str, names: Round) -> Stage:
    fields = fields_of(made.committee, f"{ROOT}.committee", but={"members"})
    stage = Stage(name, Kind.RESPOND, fields, inputs={"instructions": names.instructions}, round=names.number)
    return _by_member(spec, member, stage)


def _judge(spec: RunSpec, made: Reconstructed, judge: Member, name: str, names: Round) -> Stage:
    if made.judging.pruning is Pruning.LOSSLESS:
        # Who can still win depends on what selection counts, and on the judges before this one.
        read = replace(names, verdicts=names.verdicts[: names.verdicts.index(name)])
        fields = fields_of(made.judging, f"{ROOT}.judging", but={"judges"})
        fields |= {"committee": _identities(made), "judge": judge.name}
    else:
        read = replace(names, verdicts=())
        fields = fields_of(made.judging, f"{ROOT}.judging", but={"judges", "min_judges", "self_judging"})
    return _by_member(spec, judge, Stage(name, Kind.JUDGE, fields, inputs=read.judged, round=names.number))


def _by_member(spec: RunSpec, member: Member, stage: Stage) -> Stage:
    """Return the stage as a member's model carries it out: on engines of its own, or behind the endpoint that it names.

    Nothing depends on the member's name, nor on whether its model is the run's base model.
    """
    fields = {**stage.fields, **fields_of(member, "member", but={"name", "base", "model"}), **draw_fields(spec)}
    if member.endpoint:
        return replace(stage, fields=fields, subject=member.name, endpoint=member.endpoint)
    model = member_model(spec, member)
    source = sources_of(spec).models[member_input(member)]
    return replace(
        stage,
        fields={**fields, **fields_of(model, "model")},
        external=source.outside("model"),
        inputs={**source.inside("model"), **stage.inputs},
        subject=member.name,
        serving=model.serving,
    )
