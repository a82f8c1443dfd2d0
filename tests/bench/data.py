"""`python -m tests.bench.data --rows 10000 100000`: rows a second and peak memory of mix, filter and select, by size.

Each stage runs as it is shipped, in a process of its own, over a folder store. docs/benchmarks/data.md says what is measured.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.prepared import STAGES, Preparation, Shape
from tests.bench.prose import Prose
from tests.bench.stage_process import Taken, run_stage
from tests.bench.table import machine


@dataclass(frozen=True)
class Measured:
    """What one stage took with so many rows, each of so many words."""

    stage: str
    rows: int
    shape: Shape
    taken: Taken


def main() -> int:
    """Measure every stage at every size, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.data", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="rehearsal rows")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--instruction", type=int, default=40, help="words of an instruction")
    parser.add_argument("--answer", type=int, default=430, help="words of an answer")
    parser.add_argument("--folder", type=Path, help="where the store and scratch are put for a while: a few gigabytes")
    arguments = parser.parse_args()
    prose, shape = Prose(), Shape(arguments.instruction, arguments.answer)
    with tempfile.TemporaryDirectory(prefix="bench-data-", dir=arguments.folder) as folder:
        model = {path.name: path.read_bytes() for path in prose.family().save(Path(folder) / "tokenizer").iterdir()}
        preparation = Preparation(prose, model, shape)
        measured = [_measure(preparation, stage, rows, folder) for stage in arguments.stages for rows in arguments.rows]
    print(machine("the other work of this machine shares them"), _table(measured), sep="\n\n")
    return 0


def _measure(preparation: Preparation, stage: str, rows: int, folder: str) -> Measured:
    with tempfile.TemporaryDirectory(prefix=f"{stage}-", dir=folder) as place:
        print(f"{stage}: writing the inputs of {rows:,} rows", file=sys.stderr, flush=True)
        task = preparation.prepare(stage, rows, Path(place))
        print(f"{stage}: running", file=sys.stderr, flush=True)
        return Measured(stage, rows, preparation.shape, run_stage(stage, task))


def _table(measured: Sequence[Measured]) -> str:
    lines = [
        "| stage | rows | words a row | seconds | of CPU | rows a second of CPU | peak memory |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for each in measured:
        words, taken = each.shape.instruction + each.shape.answer, each.taken
        figures = (each.rows, words, round(taken.seconds), round(taken.cpu), round(each.rows / taken.cpu))
        lines.append(f"| {each.stage} | {' | '.join(f'{figure:,}' for figure in figures)} | {taken.peak / 1e6:,.0f} MB |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
