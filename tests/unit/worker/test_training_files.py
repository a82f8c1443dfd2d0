"""What passes between the train program and its ranks: rows, events, and how a failed run ends."""

from pathlib import Path

import pytest
import torch

from rehearsal.api.messages import RANK_LOST, CorruptInput, ExitCode, StageError
from rehearsal.worker import torchrun
from rehearsal.worker.training import failures as on_a_rank
from rehearsal.worker.training.events import FAILED, STEP, Listener, tell
from rehearsal.worker.training.rows import Rows, write_rows

COUNTED = "at most 1.2 GB of a pod's memory"


def a_row(name: str, ids: list[int], *spans: list[int]) -> dict[str, object]:
    return {"id": name, "ids": ids, "spans": list(spans), "source": "domain"}


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    lengths = write_rows([a_row("a", [5, 6, 128_255], [1, 3]), a_row("b", [7, 8, 9, 10], [1, 2], [3, 4])], tmp_path)
    rows = Rows(tmp_path)
    assert lengths == rows.lengths == [3, 4]
    assert [rows.ids(0), rows.ids(1)] == [[5, 6, 128_255], [7, 8, 9, 10]]
    assert [list(rows.trained(0)), list(rows.trained(1))] == [[0, 1, 1], [0, 1, 0, 1]]
    assert rows.trained_tokens(1) == 2


@pytest.mark.parametrize("span", [[0, 2], [1, 4], [2, 2], [2, 1]])
def test_a_span_that_cannot_be_predicted_is_corrupt_input_by_row(tmp_path: Path, span: list[int]) -> None:
    with pytest.raises(CorruptInput, match="row a of the mix"):
        write_rows([a_row("a", [5, 6, 7], span)], tmp_path)


def test_a_mix_without_rows_has_no_lengths(tmp_path: Path) -> None:
    assert write_rows([], tmp_path) == []


def test_a_listener_hears_every_event_once_and_waits_for_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events"
    listener = Listener(path)
    assert list(listener.news()) == []
    tell(path, STEP, step=1)
    assert [event["step"] for event in listener.news()] == [1]
    with path.open("ab") as file:
        file.write(b'{"event": "step", "st')
    assert list(listener.news()) == []
    with path.open("ab") as file:
        file.write(b'ep": 2}\n')
    assert [event["step"] for event in listener.news()] == [2]


@pytest.mark.parametrize(
    ("failures", "code", "reason"),
    [
        ([], ExitCode.DEVICE, "RankKilled"),
        ([(75, "RankLost"), (66, "LossNotFinite")], ExitCode.TOO_MANY_REFUSED, "LossNotFinite"),
        ([(75, "RankLost"), (70, "Bug")], ExitCode.BUG, "Bug"),
        ([(75, "RankLost"), (75, "DeviceUnusable")], ExitCode.DEVICE, "DeviceUnusable"),
        ([(75, "RankLost"), (64, "OutOfMemory")], ExitCode.REFUSED, "OutOfMemory"),
    ],
)
def test_the_cause_of_a_failed_run_comes_before_what_followed_from_it(
    failures: list[tuple[int, str]], code: ExitCode, reason: str
) -> None:
    told: list[dict[str, object]] = [{"event": FAILED, "code": c, "reason": r, "message": "why"} for c, r in failures]
    end = torchrun.ending(told, 1, 1, COUNTED)
    assert isinstance(end, StageError)
    assert (end.code, end.reason) == (code, reason)


@pytest.mark.parametrize(("nodes", "code", "reason"), [(1, 1, "RankKilled"), (2, 1, RANK_LOST), (2, -9, "RankKilled")])
def test_a_silent_end_among_several_nodes_may_be_anothers_unless_torchrun_itself_was_killed(
    nodes: int, code: int, reason: str
) -> None:
    """NCCL's watchdog aborts a rank that lost its peers: no exception, and no memory that ran out."""
    end = torchrun.ending([], code, nodes, COUNTED)
    assert (end.code, end.reason) == (ExitCode.DEVICE, reason)
    assert ("out of host memory" in str(end)) == (reason == "RankKilled")
    assert (COUNTED in str(end)) == (reason == "RankKilled")


@pytest.mark.fault(42)
def test_a_device_without_memory_is_a_refusal_with_the_numbers_and_what_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (3e9, 80e9))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 76e9)
    on_a_rank.report(tmp_path / "events", torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), 5)
    end = torchrun.ending(list(Listener(tmp_path / "events").news()), 1, 1, COUNTED)
    assert (end.code, end.reason) == (ExitCode.REFUSED, "OutOfMemory")
    assert str(end).startswith(
        "GPU 5 ran out of memory: 3.0 of 80.0 GB were free, tensors took 76.0 GB at the peak. Use more ranks"
    )


@pytest.mark.fault(43)
@pytest.mark.parametrize(
    "words", ["device-side assert triggered", "uncorrectable ECC error encountered", "unspecified launch failure"]
)
def test_a_device_that_failed_ends_the_process_for_another_pod_to_go_on(tmp_path: Path, words: str) -> None:
    error = torch.AcceleratorError(f"CUDA error: {words}\nCUDA kernel errors might be asynchronously reported")
    on_a_rank.report(tmp_path / "events", error, 2)
    end = torchrun.ending(list(Listener(tmp_path / "events").news()), 1, 1, COUNTED)
    assert (end.code, end.reason) == (ExitCode.DEVICE, "DeviceUnusable")
    assert str(end) == f"the device of rank 2 is unusable: CUDA error: {words}"


def test_what_nccl_says_of_the_cause_is_told_with_what_failed() -> None:
    """The text is as torch builds it: what failed, what such an error may be, and what went wrong."""
    happened = "NCCL error in: ProcessGroupNCCL.cpp:94, unhandled system error (run with NCCL_DEBUG=INFO for details)"
    text = f"{happened}\nncclSystemError: System call failed or device error. \nLast error:\n"
    cause = "socketStartConnect: Connect to 10.0.0.7<4321> failed"
    end = on_a_rank.ending(torch.distributed.DistBackendError(f"{text}{cause}"), 3)
    assert end
    assert (end.reason, str(end)) == (RANK_LOST, f"rank 3 lost the other ranks: {happened}; {cause}")
    assert len(str(on_a_rank.ending(torch.distributed.DistBackendError(text + "x" * 5000), 3))) < 1000
    bare = on_a_rank.ending(torch.distributed.DistBackendError(f"{text}\nException raised from somewhere"), 3)
    assert str(bare) == f"rank 3 lost the other ranks: {happened}"
