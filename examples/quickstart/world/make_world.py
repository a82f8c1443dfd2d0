"""Makes the quickstart's inputs from one seed: two aligned models, the domain set, the categories and the evaluation.

    python examples/quickstart/world/make_world.py [--seed 2025] [--texts-only]

Takes about ten minutes on one core. The text files are the same on every machine; the models up to the order in
which floats are summed.
"""

import argparse
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import domain
import evaluation
import yaml
from families import FAMILIES
from mixtures import BASE, PEER
from transcripts import TURN_END

INPUTS = Path(__file__).parent.parent / "store" / "inputs"
SEED = 2025


def categories() -> list[dict[str, Any]]:
    """What the report compares elicited instructions with: every family's pattern and true share in the base model."""
    return [{"name": f.name, "pattern": f.pattern(), "share": BASE.shares[f.name]} for f in FAMILIES]


def as_yaml(value: object) -> str:
    """YAML in the order given, long lines left whole."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10**6)


def as_lines(rows: Iterable[object]) -> str:
    """JSON, a row a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def texts() -> dict[str, str]:
    """Every text file of the inputs by its path."""
    return {
        "domain.jsonl": as_lines({"messages": messages} for messages in domain.rows()),
        "categories.yaml": as_yaml(categories()),
        "eval/general.yaml": as_yaml(evaluation.task("general", TURN_END)),
        "eval/general.jsonl": as_lines(evaluation.general_questions()),
        "eval/domain.yaml": as_yaml(evaluation.task("domain", TURN_END)),
        "eval/domain.jsonl": as_lines(evaluation.domain_questions()),
    }


def write_texts(out: Path) -> None:
    """Writes the text files."""
    for path, text in texts().items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text)


def make_models(seed: int, out: Path) -> None:
    """Aligns both models on one core and writes them in bfloat16, as the engines run them.

    The peer goes on from the base model, on another mixture: a sibling, which has learned to judge already.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch  # noqa: PLC0415 - the texts need none of it
    from align import Recipe, align  # noqa: PLC0415
    from tokenizer import save_tokenizer, train_tokenizer  # noqa: PLC0415
    from transformers import LlamaForCausalLM  # noqa: PLC0415

    torch.set_num_threads(1)
    tokenizer = train_tokenizer()
    start = None
    for mixture, recipe in ((BASE, Recipe()), (PEER, Recipe(steps=450, chat_steps=0))):
        align(tokenizer, mixture, seed, recipe, start).to(torch.bfloat16).save_pretrained(out / mixture.name)
        save_tokenizer(tokenizer, out / mixture.name)
        start = LlamaForCausalLM.from_pretrained(out / mixture.name, dtype=torch.float32)


def main() -> None:
    """Writes everything."""
    arguments = argparse.ArgumentParser(description="Makes the quickstart's inputs.")
    arguments.add_argument("--seed", type=int, default=SEED, help="seed of the models' alignment")
    arguments.add_argument("--out", type=Path, default=INPUTS, help="folder to write")
    arguments.add_argument("--texts-only", action="store_true", help="leave the models as they are")
    options = arguments.parse_args()
    write_texts(options.out)
    if options.texts_only:
        return
    make_models(options.seed, options.out)


if __name__ == "__main__":
    main()
