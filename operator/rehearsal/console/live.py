"""What a person sees while a run goes on: a bar a stage on a terminal, plain lines elsewhere."""

from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rehearsal.api.status import RunStatus, StageStatus, State
from rehearsal.outside.text import shown

STYLES = {
    State.PENDING: "dim",
    State.WAITING: "yellow",
    State.RUNNING: "cyan",
    State.REUSED: "blue",
    State.SUCCEEDED: "green",
    State.FAILED: "bold red",
}
LINE_SECONDS = 15.0
LONGEST = 4000


class LiveView:
    """Shows every status it is given. Model text never reaches it: statuses hold none."""

    def __init__(self, console: Console, title: str, clock: Callable[[], datetime]) -> None:
        self._console, self._title, self._clock = console, title, clock
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._states: dict[str, tuple[State, str]] = {}
        self._spoken: dict[str, datetime] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def show(self, status: RunStatus) -> None:
        """Show a status."""
        if self._live:
            self._live.update(self._table(status))
        else:
            self._lines(status)

    def _table(self, status: RunStatus) -> Table:
        eta = f" · ready about {clock_time(status.eta)}" if status.eta else ""
        table = Table(title=f"{self._title} · {status.progress} %{eta}", box=None, title_justify="left", padding=(0, 1))
        for column in ("stage", "state", "", "done", "rate", "time", ""):
            table.add_column(column, justify="right" if column in ("done", "rate", "time") else "left", no_wrap=column != "")
        for stage in status.stages:
            style = STYLES[stage.state]
            bar = ProgressBar(total=max(stage.total, 1), completed=_shown(stage), width=24)
            row = (
                Text(shown(stage.name)),
                Text(stage.state, style=style),
                bar,
                Text(shown(_done(stage))),
                Text(shown(_rate(stage))),
                self._time(stage),
                Text(shown(_words(stage), LONGEST)),
            )
            table.add_row(*row)
        return table

    def _lines(self, status: RunStatus) -> None:
        now = self._clock()
        for stage in status.stages:
            state = (stage.state, stage.message if stage.state is State.WAITING else stage.fingerprint or "")
            if self._states.get(stage.name) == state:
                spoken = self._spoken.get(stage.name, now)
                if stage.state is not State.RUNNING or (now - spoken).total_seconds() < LINE_SECONDS:
                    continue
            elif stage.state is State.PENDING:
                continue
            self._states[stage.name], self._spoken[stage.name] = state, now
            words = "  ".join(part for part in (_done(stage), _rate(stage), self._time(stage), _words(stage)) if part)
            self._console.print(
                shown(f"[{status.progress:3d} %] {stage.name:16} {stage.state:10} {words}".rstrip(), LONGEST),
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def _time(self, stage: StageStatus) -> str:
        """Time taken; of a running stage with a pace, the time that is left."""
        if stage.state is State.RUNNING and stage.per_second and stage.total:
            return f"{clock((stage.total - stage.done) / stage.per_second)} left"
        if stage.started_at and stage.state in (State.RUNNING, State.SUCCEEDED, State.FAILED):
            end = datetime.fromisoformat(stage.finished_at) if stage.finished_at else self._clock()
            return clock(max(0.0, end.timestamp() - datetime.fromisoformat(stage.started_at).timestamp()))
        return ""


def clock(seconds: float) -> str:
    """Return minutes and seconds, as 3:07."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def clock_time(stamp: str) -> str:
    """Return a timestamp's local time of day."""
    return datetime.fromisoformat(stamp).astimezone().strftime("%H:%M:%S")


def _shown(stage: StageStatus) -> int:
    return max(stage.total, 1) if stage.state.done else stage.done


def _done(stage: StageStatus) -> str:
    if stage.state is State.RUNNING and stage.total:
        return f"{stage.done}/{stage.total} {stage.unit}"
    return f"{stage.rows} rows" if stage.rows else ""


def _rate(stage: StageStatus) -> str:
    if stage.state is not State.RUNNING or not stage.per_second:
        return ""
    tokens = f" · {stage.tokens_per_second:.0f} tok/s" if stage.tokens_per_second else ""
    return f"{stage.per_second:.1f} {stage.unit}/s{tokens}"


def _words(stage: StageStatus) -> str:
    return stage.message or (stage.reason if stage.state in (State.REUSED, State.WAITING) else "")
