"""Rows on the shelf come back as they were, in their order, and a second filling leaves nothing of the first."""

from pathlib import Path

from rehearsal.pipeline.stage import ROWS_PER_SHARD
from rehearsal.worker.shelf import Shelf


def test_rows_come_back_in_order_across_batches(tmp_path: Path) -> None:
    shelf, rows = Shelf(tmp_path / "kept"), 2 * ROWS_PER_SHARD + 1
    shelf.fill({"id": str(number), "answer": "\ud800 line\nline"} for number in range(rows))
    assert shelf.rows == rows
    assert [row["id"] for row in shelf.read()] == [str(number) for number in range(rows)]
    assert next(shelf.read())["answer"] == "\ud800 line\nline"


def test_a_pod_that_begins_anew_keeps_nothing_of_the_first_filling(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "kept")
    shelf.fill({"id": str(number)} for number in range(9))
    shelf.fill([])
    assert (shelf.rows, list(shelf.read())) == (0, [])
