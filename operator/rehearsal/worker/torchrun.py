"""Runs this node's ranks through torchrun, as one process group with those of the other nodes, and turns their end into the stage's.

The ranks die with torchrun and torchrun with this process, however it ends: none is left holding a GPU. The ranks of other nodes
see that as a lost connection, and end as well. Not covered: a node that falls silent without closing its connections is noticed
by its peers after `engine.HANG` only; in a cluster its pod's end comes first, and takes the whole attempt with it. torchrun does
not tell by which signal a rank ended, so a rank killed for memory and one that NCCL's watchdog aborted look the same here.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rehearsal.api.messages import (
    FATAL,
    NODES_MISSING,
    RANK_LOST,
    CorruptInput,
    DeviceUnusable,
    ExitCode,
    Refused,
    StageError,
    TooManyRefused,
)
from rehearsal.worker.node import Node
from rehearsal.worker.training.events import FAILED, JOINED, Listener

POLL_SECONDS = 0.2
JOIN_SECONDS = 3600.0
"""How long a node waits for the others, whose pods may be pending or still fetch the model. Its devices are idle meanwhile."""
PR_SET_PDEATHSIG = 1
Event = dict[str, object]
ENDINGS: tuple[type[StageError], ...] = (Refused, CorruptInput, TooManyRefused, DeviceUnusable)


def run_ranks(
    settings: Path, events: Path, node: Node, heard: Callable[[Event], None], counted: str, patience: float = JOIN_SECONDS
) -> None:
    """Run the node's ranks to their end, passing on every event but failures; raise the StageError that a failed run stands for.

    `counted` says what memory they were reckoned to take, and what there is. Nodes that have not found each other after `patience`
    seconds are DeviceUnusable.
    """
    listener = Listener(events)
    failures: list[Event] = []
    deadline = time.monotonic() + patience
    with _torchrun(settings, node) as process:
        joined = ended = False
        while not ended:
            ended = process.poll() is not None
            for event in listener.news():
                joined = joined or event["event"] == JOINED
                failures.append(event) if event["event"] == FAILED else heard(event)
            if not (joined or ended) and time.monotonic() > deadline:
                raise _alone(node, patience)
            if not ended:
                time.sleep(POLL_SECONDS)
    if process.returncode != 0 or failures:
        raise ending(failures, process.returncode, node.count, counted)


@contextmanager
def _torchrun(settings: Path, node: Node) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "torch.distributed.run", *_meeting(node), f"--nproc-per-node={node.processes}"]
    command += ["-m", "rehearsal.worker.training", str(settings)]
    libc = ctypes.CDLL(None)
    # Its output goes to our standard error: standard output holds progress lines only. No thread runs yet that fork could break.
    process = subprocess.Popen(
        command,
        stdout=sys.stderr,
        start_new_session=True,
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
    )

    def terminated(_signal: int, _frame: FrameType | None) -> None:
        _kill(process)
        os._exit(ExitCode.TERMINATED)

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield process
    finally:
        _kill(process)
        signal.signal(signal.SIGTERM, before)


def _meeting(node: Node) -> list[str]:
    """Return how torchrun brings the nodes together: at the first one's address, whose name may not be known for a while."""
    if node.count == 1:
        return ["--standalone"]
    place = [f"--nnodes={node.count}", f"--node-rank={node.index}"]
    place += [f"--master-addr={os.environ['MASTER_ADDR']}", f"--master-port={os.environ['MASTER_PORT']}"]
    return [*place, f"--rdzv-conf=timeout={2 * JOIN_SECONDS:.0f}"]  # our own patience ends first, and in better words


def _alone(node: Node, patience: float) -> DeviceUnusable:
    return DeviceUnusable(
        f"the ranks did not find each other within {patience / 60:.0f} minutes; this is node {node.index} of {node.count}: "
        "a pod of this Job is pending, still fetches the model, or cannot be reached",
        NODES_MISSING,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End torchrun and the ranks. Nothing they could still do would count: only what is sealed does."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ending(failures: list[Event], code: int, nodes: int, counted: str) -> StageError:
    """Return the end of the stage: a rank's own refusal before a bug, and the loss of others, which follows from theirs, last.

    `code`: torchrun's own, negative where a signal killed it.
    """

    def weight(failure: Event) -> int:
        if failure["code"] in FATAL:
            return 0
        return 1 if failure["code"] == ExitCode.BUG else 3 if failure["reason"] == RANK_LOST else 2

    if failures:
        first = min(failures, key=weight)
        kind = next((kind for kind in ENDINGS if kind.code == first["code"]), StageError)
        return kind(str(first["message"]), str(first["reason"]))
    if nodes > 1 and code > 0:
        return DeviceUnusable("a rank ended without a word: it was killed, or lost the ranks of another node", RANK_LOST)
    return DeviceUnusable(
        f"a training rank was killed (torchrun ended with {code}): out of host memory, or its node or device failed. Counted were "
        f"{counted}",
        "RankKilled",
    )
