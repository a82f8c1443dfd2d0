"""What a session has seen, for people: collected while tests run, and written to `.cache/e2e/report.md` at its end."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import dedent

from tests.tools import ROOT

REPORT = ROOT / ".cache" / "e2e" / "report.md"


class Notes:
    """Sections in the order in which they are written."""

    def __init__(self) -> None:
        self._sections: list[str] = []

    def table(self, title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table."""
        lines = [_row(head), _row(["---"] * len(head)), *(_row([str(cell) for cell in row]) for row in rows)]
        self._sections.append("\n".join([f"## {title}", "", *lines]))

    def text(self, title: str, said: str) -> None:
        """Add what a program printed."""
        self._sections.append(
            "\n".join([f"## {title}", "", *(f"    {line}".rstrip() for line in dedent(said).strip().splitlines())])
        )

    def __str__(self) -> str:
        return "\n\n".join(["# End to end", *self._sections])

    def write(self, path: Path = REPORT) -> Path:
        """Write all of it, and return where."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{self}\n")
        return path


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
