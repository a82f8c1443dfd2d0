"""The stages that rebuild the alignment data: elicit, filter, the committee's answers and verdicts, select."""

from collections.abc import Iterator, Mapping
from math import ceil

from rehearsal.api.reconstruction import Member, Pruning, Reconstructed
from rehearsal.api.run import RunSpec
from rehearsal.api.serving import Model
from rehearsal.pipeline.knobs import draw_fields, fields_of
from rehearsal.pipeline.sources import sources_of
from rehearsal.pipeline.stage import Kind, Stage

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
    """Return how many instructions a round elicits: a twentieth more than asked at first, a quarter of the count after that."""
    return ceil(count * 1.05) + 8 if round_ == 1 else ceil(count * 0.25) + 8


def reconstruction_stages(spec: RunSpec, made: Reconstructed, rounds: int) -> Iterator[Stage]:
    """Yield the stages that rebuild the alignment data, elicitation first and selection last."""
    base = sources_of(spec).models["baseModel"]
    for number in range(1, rounds + 1):
        yield Stage(
            name="elicit" if number == 1 else f"elicit-{number}",
            kind=Kind.ELICIT,
            fields={
                **fields_of(made, ROOT, but={"filters", "committee", "judging"}),
                "round": number,
                **fields_of(spec.base_model, "baseModel"),
                **draw_fields(spec),
            },
            external=base.outside("model"),
            inputs=base.inside("model"),
            serving=spec.base_model.serving,
            round=number,
        )
    yield Stage(
        name="filter",
        kind=Kind.FILTER,
        fields=fields_of(made, ROOT, but={"pre_query", "sampling", "committee", "judging"}),
        external=base.outside("model"),
        inputs={**base.inside("model"), "elicited": "elicit"},
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
            **(fields_of(made.judging, f"{ROOT}.judging", but={"judges"}) if judged else {}),
            f"{ROOT}.committee.members": _identities(made),
        },
        inputs={"instructions": "filter", **answers, **judged},
    )


def _identities(made: Reconstructed) -> list[object]:
    """What selection knows of the members: their order, which one is the base model, which ones judge."""
    judging = {m.name for m in judges(made)}
    return [{"name": m.name, "base": m.base, "judges": m.name in judging} for m in made.committee.members]


def _respond(spec: RunSpec, made: Reconstructed, member: Member) -> Stage:
    fields = fields_of(made.committee, f"{ROOT}.committee", but={"members"})
    return _by_member(spec, member, Kind.RESPOND, fields, {"instructions": "filter"})


def _judge(spec: RunSpec, made: Reconstructed, judge: Member, inputs: Mapping[str, str]) -> Stage:
    if made.judging.pruning is Pruning.LOSSLESS:
        # Who can still win depends on what selection counts, and on the judges before this one.
        fields = fields_of(made.judging, f"{ROOT}.judging", but={"judges"})
        fields |= {"committee": _identities(made), "judge": judge.name}
    else:
        fields = fields_of(made.judging, f"{ROOT}.judging", but={"judges", "min_judges", "self_judging"})
    return _by_member(spec, judge, Kind.JUDGE, fields, inputs)


def _by_member(spec: RunSpec, member: Member, kind: Kind, fields: Mapping[str, object], inputs: Mapping[str, str]) -> Stage:
    """A stage that a member's model carries out: on engines of its own, or behind the endpoint that it names.

    Nothing depends on the member's name, nor on whether its model is the run's base model.
    """
    name = f"{kind}-{member.name}"
    fields = {**fields, **fields_of(member, "member", but={"name", "base", "model"}), **draw_fields(spec)}
    if member.endpoint:
        return Stage(name, kind, fields, inputs=inputs, subject=member.name, endpoint=member.endpoint)
    model = member_model(spec, member)
    source = sources_of(spec).models[member_input(member)]
    return Stage(
        name,
        kind,
        {**fields, **fields_of(model, "model")},
        external=source.outside("model"),
        inputs={**source.inside("model"), **inputs},
        subject=member.name,
        serving=model.serving,
    )
