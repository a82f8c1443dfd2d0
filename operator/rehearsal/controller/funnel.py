"""The funnel of a run's status, from what its stages sealed. Pure."""

from rehearsal.api.status import Funnel, RunStatus


def funnel(status: RunStatus) -> Funnel | None:
    """Return what became of the instructions, or None where no Job of this run has told: the stage is not done, or was reused."""
    select, mix = status.stage("select"), status.stage("mix")
    if select is None or not select.sealed or "considered" not in select.facts:
        return None
    counts = {name: value for name, value in select.facts.items() if isinstance(value, int)}
    refused = {name.removeprefix("refused."): count for name, count in counts.items() if name.startswith("refused.")}
    mixed = mix.facts.get("rehearsalRows") if mix else None
    return Funnel(
        **{name: counts[name] for name in ("rounds", "elicited", "accepted", "considered", "answered", "judged", "answers")},
        kept=select.rows or 0,
        mixed=mixed if isinstance(mixed, int) else None,
        answers_cut_off=counts["answersCutOff"],
        lost=refused | select.refused,
        instruction_length=counts["medianLength.instructions.accepted"],
        instruction_length_kept=counts["medianLength.instructions.kept"],
        answer_length=counts["medianLength.answers.all"],
        answer_length_kept=counts["medianLength.answers.kept"],
    )
