"""A stage of a run that is ready to start: its inputs are sealed in a store of its own, its task file is written."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rehearsal.api.run import RunSpec
from rehearsal.data.mixture import plan_mixture
from rehearsal.pipeline.fingerprint import fingerprints
from rehearsal.pipeline.stage import ROWS_PER_SHARD
from rehearsal.worker.context import Context
from tests.bench.prose import Prose
from tests.unit.worker.models_in_store import FILES, a_context, a_spec, a_store, put_model

STAGES = ("mix", "filter", "select")
Row = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """How much a row says: words of an instruction, words of an answer."""

    instruction: int
    answer: int


@dataclass(frozen=True)
class Preparation:
    """Everything that is the same for all sizes."""

    prose: Prose
    model: Mapping[str, bytes]
    shape: Shape

    def prepare(self, stage: str, rows: int, folder: Path) -> Path:
        """Seal what the stage reads, for a run of so many rows; return its task file."""
        store = a_store(folder / "store")
        for path in ("base", "peer"):
            put_model(store, path, FILES | self.model | {"model.safetensors": path.encode()})
        spec = RunSpec.model_validate(a_spec(count=rows).wire() | {"training": {"sequenceLength": 4096}})
        with (folder / "domain.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in self._domain(stage, rows, spec))
        store.upload("domain.jsonl", folder / "domain.jsonl")
        context = a_context(folder, spec, stage, store)
        inputs = dict(context.task.inputs) | {"domain": store.stat("domain.jsonl").sha256}
        fingerprint = fingerprints(tuple(context.stages.values()), inputs)[stage]
        context.task = context.task.model_copy(update={"inputs": inputs, "fingerprint": fingerprint})
        for name, made in getattr(self, f"_{stage}")(rows).items():
            _seal(context, name, made)
        task = folder / "task.json"
        task.write_text(context.task.model_dump_json(by_alias=True))
        return task

    def _domain(self, stage: str, rows: int, spec: RunSpec) -> Iterator[Row]:
        """As many rows as the mix needs, each with an `id`, of which none may be given twice."""
        needed = plan_mixture(rows, rows, spec.mixture).domain if stage == "mix" else 1
        for number in range(needed):
            yield {"id": f"case-{number}", "prompt": self._asked(number), "response": self._answered(number)}

    def _mix(self, rows: int) -> Mapping[str, Iterable[Row]]:
        made = ({"id": _id(n), "instruction": self._asked(n), "answer": self._answered(n)} for n in range(rows))
        return {"select": made}

    def _filter(self, rows: int) -> Mapping[str, Iterable[Row]]:
        ids = list(range(40, 40 + self.shape.answer))
        made = ({"id": f"1-{n:07d}", "ids": ids, "text": f"{self._answered(n)} {n}", "finish": "stop"} for n in range(rows))
        return {"elicit": made}

    def _select(self, rows: int) -> Mapping[str, Iterable[Row]]:
        ids = list(range(40, 40 + self.shape.answer))
        made: dict[str, Iterable[Row]] = {"filter": ({"id": _id(n), "text": self._asked(n)} for n in range(rows))}
        for shift, member in enumerate(("base", "peer")):
            made[f"respond-{member}"] = (
                {
                    "id": _id(n),
                    "answers": [{"text": self._answered(3 * n + i + shift), "ids": ids, "finish": "stop"} for i in range(3)],
                }
                for n in range(rows)
            )
            made[f"judge-{member}"] = (
                {"id": _id(n), "scores": [[1 + (n + i + j) % 5 for i in range(3)] for j in range(2)], "pruned": []}
                for n in range(rows)
            )
        return made

    def _asked(self, number: int) -> str:
        return self.prose.text(number, self.shape.instruction)

    def _answered(self, number: int) -> str:
        return self.prose.text(number + 1, self.shape.answer)


def _id(number: int) -> str:
    return f"i{number:07d}"


def _seal(context: Context, stage: str, rows: Iterable[Row]) -> None:
    artifact, remaining, shards, count = context.artifact(stage), iter(rows), 0, 0
    while batch := list(islice(remaining, ROWS_PER_SHARD)):
        artifact.commit_shard(shards, batch)
        shards, count = shards + 1, count + len(batch)
    artifact.seal(shards, facts={"elicited": count, "characters": 0})
