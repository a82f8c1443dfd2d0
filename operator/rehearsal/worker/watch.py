"""What a training run's parent does with what it hears: progress lines, and checkpoints uploaded while the ranks go on."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from rehearsal.api.messages import StageError
from rehearsal.worker.checkpoints import Checkpoints, World
from rehearsal.worker.context import Context, log
from rehearsal.worker.node import Node
from rehearsal.worker.pace import Pace
from rehearsal.worker.torchrun import Event
from rehearsal.worker.training.events import CHECKPOINT, JOINED, STARTED, STEP


class Watch:
    """Hears the events of one node's ranks. `loss` is that of the last step. Leaving it waits for an upload that has begun."""

    def __init__(self, context: Context, node: Node, folder: Path, world: World, steps: int) -> None:
        self.loss = float("nan")
        self._context, self._node, self._folder, self._world, self._steps = context, node, folder, world, steps
        self._pace = Pace()
        self._attempt = ""
        self._uploads = ThreadPoolExecutor(1, "checkpoint")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # After a failure the last checkpoint is what the next attempt goes on from; after success none is needed.
        self._uploads.shutdown(wait=True, cancel_futures=kind is None)

    def heard(self, event: Event) -> None:
        """Act on one event."""
        if event["event"] == JOINED:
            self._attempt = str(event["attempt"])
        elif event["event"] == STARTED:
            self._pace = Pace()  # the ranks' start is not part of their pace
        elif event["event"] == STEP:
            self._step(int(str(event["step"])), float(str(event["loss"])), int(str(event["tokens"])))
        elif event["event"] == CHECKPOINT:
            self._uploads.submit(self._upload, int(str(event["step"])))

    def _step(self, step: int, loss: float, tokens: int) -> None:
        self.loss = loss
        self._pace.add(1, tokens)
        per_second, tokens_per_second = self._pace.rates()
        self._context.progress(step, self._steps, "steps", per_second, tokens_per_second)

    def _upload(self, step: int) -> None:
        folder = self._folder / str(step)
        try:
            seal = Checkpoints(self._context.output).save(folder, step, self._world, self._node, self._attempt)
            log(f"checkpoint at step {step} {'sealed' if seal else 'stored; another node will seal it'}")
        except (StageError, OSError) as error:
            log(f"the checkpoint at step {step} was not kept: {error}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
