"""The stages that rebuild the alignment data: elicit, filter, the committee's answers and verdicts, select."""

from collections.abc import Iterator, Mapping
from math import ceil

from rehearsal.api.reconstruction import Member, Pruning, Reconstructed
from rehearsal.api.run import RunSpec
from rehearsal.api.serving import Model
from rehearsal.pipeline.stage import Kind, Stage, engine_fields, seed_fields


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


def reconstruction_stages(spec: RunSpec, made: Reconstructed, rounds: int) -> Iterator[Stage]:
    """Yield the stages that rebuild the alignment data, elicitation first and selection last."""
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
                **engine_fields(spec.base_model, "baseModel"),
                **seed_fields(spec),
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
            **engine_fields(model, "model"),
            **seed_fields(spec),
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
            **engine_fields(model, "model"),
            **seed_fields(spec),
        },
        external={"model": member_input(judge)},
        inputs=inputs,
        subject=judge.name,
        serving=model.serving,
    )
