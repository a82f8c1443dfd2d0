"""The closing words of a run: what ran, what became of its instructions, and what a person should know of it."""

from pathlib import Path

from rehearsal.api.status import Funnel, RunStatus, StageStatus, State
from rehearsal.console.outcome import summary

FUNNEL = Funnel(
    **{
        "rounds": 3,
        "elicited": 1104,
        "accepted": 1096,
        "considered": 811,
        "answered": 600,
        "judged": 600,
        "kept": 600,
        "mixed": 600,
    },
    **{"answers": 1622, "answers_cut_off": 422, "lost": {"answers-truncated": 211}},
    **{"instruction_length": 80, "instruction_length_kept": 70, "answer_length": 900, "answer_length_kept": 300},
)


def test_the_closing_words_tell_the_funnel_and_every_warning() -> None:
    select = StageStatus(name="select", state=State.SUCCEEDED, fingerprint="f", message="211 of 811 instructions became none")
    words = summary("medical", None, RunStatus(stages=[select], funnel=FUNNEL), Path("report.html")).splitlines()
    assert "Instructions: 1,104 elicited, 1,096 accepted, 811 considered, 600 answered, 600 judged, 600 kept, 600 mixed." in words
    assert "select: 211 of 811 instructions became none" in words
