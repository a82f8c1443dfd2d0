"""Why accepted instructions become no conversation, in words: what was lost, and which fields of the spec would lose less. Pure."""

from collections.abc import Mapping
from enum import StrEnum

from rehearsal.api.run import RunSpec
from rehearsal.report.contents import Fact

WORTH_TELLING = 0.05
"""Share of lost instructions from which a run that goes on warns: the margin that the first round elicits."""
MOST_NAMED = 4
"""Reasons that are named in a line, the commonest first."""
RECONSTRUCTED = "spec.rehearsal.reconstructed"


class Loss(StrEnum):
    """Why an accepted instruction became no conversation, in the order of the steps."""

    NO_ANSWER = "no-answer"
    TRUNCATED = "answers-truncated"
    UNFINISHED = "answers-unfinished"
    BROKEN = "answers-out-of-role"
    EMPTY = "answers-empty"
    DEGENERATE = "answers-degenerate"
    NO_VERDICT = "no-verdict"
    NOT_ENCODABLE = "conversation-not-encodable"
    TOO_LONG = "conversation-too-long"


UNANSWERED = (Loss.NO_ANSWER, Loss.TRUNCATED, Loss.UNFINISHED, Loss.BROKEN, Loss.EMPTY, Loss.DEGENERATE)
"""Losses for want of a whole answer."""
UNFIT = (Loss.NOT_ENCODABLE, Loss.TOO_LONG)
"""Losses of conversations that cannot be trained on."""


def told(spec: RunSpec, facts: Mapping[str, Fact], lost: Mapping[str, int]) -> str:
    """Return one line on what was lost of the instructions that were looked at, and which fields of the spec would lose less."""
    words = f"{sum(lost.values()):,} of {facts['considered']:,} instructions became no conversation ({_counts(lost)})"
    cut = [_cut_off(spec, facts)] if facts["answersCutOff"] else []
    return "; ".join([words, *cut, *_advice(spec, lost)])


def warning(spec: RunSpec, facts: Mapping[str, Fact], lost: Mapping[str, int]) -> str:
    """Return what is told of a run that goes on although it lost much, or nothing where it lost little.

    Each of three may be much: elicited instructions that filter refused (repeated ones apart), accepted ones that were lost, answers that
    were cut off though another one to the same instruction was whole.
    """
    refused = {name.removeprefix("refused."): int(count) for name, count in facts.items() if name.startswith("refused.")}
    refused.pop("duplicate", None)
    found: list[str] = []
    if _much(sum(refused.values()), facts["elicited"]):
        found.append(f"{sum(refused.values()):,} of {facts['elicited']:,} elicited instructions were refused ({_counts(refused)})")
        found += _advice(spec, {f"refused.{reason}": count for reason, count in refused.items()})
    if _much(sum(lost.values()), facts["considered"]):
        found.append(told(spec, facts, lost))
    elif _much(int(facts["answersCutOff"]), facts["answers"]):
        found += [_cut_off(spec, facts), *_advice(spec, {Loss.TRUNCATED: 1})]
    return "; ".join([*found, "what is kept is bent towards what was not lost"]) if found else ""


def _much(count: int, total: Fact) -> bool:
    return count > WORTH_TELLING * float(total)


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {reasons[reason]:,}" for reason in _commonest(reasons))


def _commonest(reasons: Mapping[str, int]) -> list[str]:
    """The reasons that a line has room for; all are counted in the seals."""
    return sorted(filter(reasons.get, reasons), key=lambda reason: -reasons[reason])[:MOST_NAMED]


def _cut_off(spec: RunSpec, facts: Mapping[str, Fact]) -> str:
    most = spec.reconstructed.committee.sampling.max_tokens if spec.reconstructed else 0
    return f"{facts['answersCutOff']:,} of {facts['answers']:,} answers were cut off at {most:,} tokens or their model's limit"


def _advice(spec: RunSpec, lost: Mapping[str, int]) -> list[str]:
    """Name the fields that the losses speak of, the commonest loss first."""
    if not (made := spec.reconstructed):
        return []
    sampling = f"{RECONSTRUCTED}.sampling.maxTokens ({made.sampling.max_tokens:,})"
    answers = f"{RECONSTRUCTED}.committee.sampling.maxTokens ({made.committee.sampling.max_tokens:,})"
    bounds = f"widen {RECONSTRUCTED}.filters.length ({made.filters.length.min:,} to {made.filters.length.max:,})"
    advice = {
        "refused.truncated": f"raise {sampling}, and baseModel.serving.maxModelLen with it",
        "refused.too-short": bounds,
        "refused.too-long": bounds,
        Loss.NO_ANSWER: "raise the members' serving.maxModelLen, or see why their endpoints declined",
        Loss.TRUNCATED: f"raise {answers}, and serving.maxModelLen with it",
        Loss.UNFINISHED: "see why the members' engines or endpoints ended answers early",
        Loss.NO_VERDICT: f"raise {RECONSTRUCTED}.judging.maxTokens, or lower judging.minJudges",
        Loss.NOT_ENCODABLE: "look at the base model's chat template",
        Loss.TOO_LONG: f"raise spec.training.sequenceLength ({spec.training.sequence_length:,})",
    }
    return list(dict.fromkeys(advice.get(loss, "look at the models' chat templates") for loss in _commonest(lost)))
