"""Measures the world in plain torch and tries the whole method on it: the numbers in README.md.

    python examples/quickstart/world/measure.py [--count 1750] [--epochs 2] [--learning-rate 1e-3]

Marks, fixed beforehand: elicited shares within 5 points of the true ones; domain rows alone cost at least 10 points
of general accuracy, the reconstructed mix at most 3; the domain is at least 0.8 right in both.
"""

import argparse
import copy
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import domain
import evaluation
import torch
from align import IGNORED, padded
from families import FAMILIES, question
from make_world import INPUTS
from mixtures import BASE
from probe import Probe
from torch.nn.functional import cross_entropy
from transcripts import Messages, render, verdict
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

DOMAIN_SHARE = 0.17
BATCH = 32
ANSWERS = 3


def load(folder: Path) -> Probe:
    """A model of the store, in float32 as training has it."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    return Probe(LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32), tokenizer)


def right_by_family(probe: Probe, questions: Sequence[evaluation.Row]) -> dict[str, float]:
    """Share of exactly right greedy answers, by family and over all."""
    answers = probe.answers([row["question"] for row in questions])
    right: dict[str, list[bool]] = {}
    for row, answer in zip(questions, answers, strict=True):
        right.setdefault(row["family"], []).append(answer == row["answer"])
        right.setdefault("all", []).append(answer == row["answer"])
    return {name: round(sum(marks) / len(marks), 3) for name, marks in right.items()}


def judge_quality(probe: Probe, pairs: int = 2000) -> dict[str, float]:
    """Of drawn responses: scores exactly right, unreadable verdicts, and the AUC of right answers against wrong words.

    The world is small and known by heart: these are responses of the kinds that judges were aligned on.
    """
    rng = random.Random("measured verdicts")
    drawn = [verdict(rng) for _ in range(pairs)]
    scores = probe.scores([(v.instruction, v.response) for v in drawn])
    quality = {
        "exact": sum(given == v.score for given, v in zip(scores, drawn, strict=True)) / pairs,
        "unreadable": scores.count(None) / pairs,
    }
    names = [asked.family.name if (asked := question(v.instruction)) else "" for v in drawn]
    for name in ("all", *(family.name for family in FAMILIES)):
        rated = [(v.score, s) for v, s, n in zip(drawn, scores, names, strict=True) if name in ("all", n) and s]
        good, bad = ([s for score, s in rated if score == wanted] for wanted in (5, 2))
        above = sum((g > b) + 0.5 * (g == b) for g in good for b in bad)
        quality[f"auc {name}"] = above / max(1, len(good) * len(bad))
    return {name: round(value, 3) for name, value in quality.items()}


def shares(instructions: Sequence[str]) -> dict[str, float]:
    """Elicited share of every family less its true one, and the share of malformed instructions."""
    asked = Counter(q.family.name if (q := question(text)) else "malformed" for text in instructions)
    return {n: round(asked[n] / len(instructions) - BASE.shares.get(n, 0.0), 4) for n in (*BASE.shares, "malformed")}


def chosen_answers(members: Sequence[Probe], instructions: Sequence[str]) -> tuple[list[str], dict[str, float]]:
    """The committee's work: every member answers three times, every member scores all, the best mean is chosen.

    Also returns how often the chosen answer, and the base model's first answer, are right.
    """
    pool = [m.answers(instructions, sampled=True) for m in members for _ in range(ANSWERS)]
    pairs = [(text, answer) for answers in pool for text, answer in zip(instructions, answers, strict=True)]
    given = [m.scores(pairs) for m in members]
    total = [sum(score or 0 for score in scores) for scores in zip(*given, strict=True)]
    count = len(instructions)
    best = [pool[max(range(len(pool)), key=lambda k: total[k * count + i])][i] for i in range(count)]
    truths = [q.truth if (q := question(text)) else None for text in instructions]
    right = {
        name: sum(a == t for a, t in zip(answers, truths, strict=True) if t) / sum(t is not None for t in truths)
        for name, answers in (("chosen right", best), ("base's first right", pool[0]))
    }
    return best, {name: round(value, 4) for name, value in right.items()}


def fine_tuned(base: Probe, rows: Sequence[Messages], epochs: int, learning_rate: float) -> Probe:
    """A copy of the base model trained on the assistant's turns of the rows, in a new order every epoch."""
    model = copy.deepcopy(base.model).train()
    model.set_attn_implementation("eager")
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    rng = random.Random("fine-tuning order")
    for _ in range(epochs):
        order = rng.sample(rows, len(rows))
        for batch in (order[at : at + BATCH] for at in range(0, len(order), BATCH)):
            ids = [base.ids(render(messages)) for messages in batch]
            given = [len(base.ids(render(messages[:-1], generate=True))) for messages in batch]
            labels = [[IGNORED] * n + row[n:] for n, row in zip(given, ids, strict=True)]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(padded(ids, 0)).logits[:, :-1]
            targets = padded(labels, IGNORED)[:, 1:]
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return Probe(model, base.tokenizer)


def main() -> None:
    """Prints every number as a line of JSON."""
    arguments = argparse.ArgumentParser(description="Measures the quickstart's world.")
    arguments.add_argument("--inputs", type=Path, default=INPUTS)
    arguments.add_argument("--count", type=int, default=1750, help="rehearsal rows")
    arguments.add_argument("--epochs", type=int, default=2)
    arguments.add_argument("--learning-rate", type=float, default=1e-3)
    options = arguments.parse_args()
    torch.manual_seed(0)

    def say(what: str, value: object) -> None:
        print(json.dumps({what: value}), flush=True)

    base, peer = load(options.inputs / "base"), load(options.inputs / "peer")
    general, new = evaluation.general_questions(), evaluation.domain_questions()
    for name, probe in (("base", base), ("peer", peer)):
        say(f"{name} general", right_by_family(probe, general))
        say(f"{name} judging", judge_quality(probe))
    say("base domain", right_by_family(base, new))
    said = base.elicited(options.count)
    say("elicited less true share", shares(said))
    say("distinct instructions", len(set(said)))
    best, quality = chosen_answers([base, peer], said)
    say("answers", quality)
    rehearsal: list[Messages] = [
        [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
        for text, answer in zip(said, best, strict=True)
    ]
    fresh = domain.rows()[: round(options.count * DOMAIN_SHARE / (1 - DOMAIN_SHARE))]
    say("domain rows", len(fresh))
    for name, rows in (("control", fresh), ("reconstructed", rehearsal + fresh)):
        tuned = fine_tuned(base, rows, options.epochs, options.learning_rate)
        say(f"{name} general", right_by_family(tuned, general))
        say(f"{name} domain", right_by_family(tuned, new))


if __name__ == "__main__":
    main()
