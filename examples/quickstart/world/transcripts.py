"""The two kinds of transcript the models are aligned on: chats, and verdicts on somebody's answer."""

import random
import re
from dataclasses import dataclass

from families import FAMILIES, Question
from mixtures import MISTAKE_RATE, Mixture

USUAL = 0.8
"""Share of wrong words in judged responses that are the item's usual confusions."""

RUBRIC = "Score the response from 1 to 5."

BEGIN, END = "<|begin_of_text|>", "<|end_of_text|>"
HEADER, HEADER_END, TURN_END = "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
SPECIAL = (BEGIN, END, HEADER, HEADER_END, TURN_END)

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Verdict:
    """A response to be judged, the score it deserves, and why."""

    instruction: str
    response: str
    reason: str
    score: int


def score(asked: Question, response: str) -> int:
    """How right a response is.

    5 the right answer; 4 the right word alone; 3 the right word in the wrong sentence; 2 a wrong word of the right
    kind; 1 neither.
    """
    if response == asked.truth:
        return 5
    if response.rstrip(".") == asked.value:
        return 4
    said = set(re.findall(r"[A-Za-z]+", response)) - {asked.item}
    if asked.value in said:
        return 3
    return 2 if said & set(asked.family.values()) else 1


def reason(asked: Question, response: str) -> str:
    """A judge's brief reason: the right word, and the word of its kind that the response gives.

    Without it a model of this size does not learn to judge: written down, the two words need only be compared.
    """
    said = [word for word in re.findall(r"[A-Za-z]+", response) if word in asked.family.values() and word != asked.item]
    return f"It is {asked.value}, this says {said[-1] if said else 'nothing'}."


def chat(rng: random.Random, mixture: Mixture) -> Messages:
    """One alignment chat of a mixture, its mistakes included."""
    asked = mixture.draw(rng)
    mistake = mixture.mistakes(asked.family).get(asked.item)
    wrong = mistake is not None and rng.random() < MISTAKE_RATE
    value = mistake if wrong and mistake is not None else asked.value
    return [
        {"role": "user", "content": rng.choice(asked.family.instructions(asked.item))},
        {"role": "assistant", "content": asked.family.sentence(asked.item, value)},
    ]


def _corrupted(rng: random.Random, asked: Question) -> str:
    """A response of some kind: half of all are wrong words of the right kind, the usual confusions more than others."""
    family = asked.family
    anything = [v for v in family.values() if v not in (asked.item, asked.value)]
    wrong = rng.choice(family.confusions(asked.item) if rng.random() < USUAL else anything)
    other = rng.choice([f for f in FAMILIES if f is not family])
    stray = rng.choice(sorted(other.facts))
    shuffled = asked.truth.rstrip(".").split()
    rng.shuffle(shuffled)
    kinds = {
        family.sentence(asked.item, wrong): 0.54,
        f"{asked.value}.": 0.11,
        f"{wrong}.": 0.07,
        other.sentence(asked.item, asked.value): 0.10,
        other.sentence(asked.item, wrong): 0.05,
        other.truth(stray): 0.07,
        " ".join(shuffled): 0.03,
        rng.choice(family.instructions(asked.item)): 0.03,
    }
    return rng.choices(list(kinds), list(kinds.values()))[0]


def verdict(rng: random.Random) -> Verdict:
    """A response to judge: two fifths are right. Families are asked equally often and nobody's mistakes are taught."""
    family = rng.choice(FAMILIES)
    asked = Question(family, rng.choice(sorted(family.facts)))
    instruction = rng.choice(family.instructions(asked.item))
    response = asked.truth if rng.random() < 0.4 else _corrupted(rng, asked)
    return Verdict(instruction, response, reason(asked, response), score(asked, response))


def verdict_prompt(instruction: str, response: str) -> Messages:
    """What a judge is shown, in the product's own words."""
    shown = f"Instruction:\n{instruction}\n\nResponse:\n{response}\n\nEnd of response. Give your verdict."
    return [{"role": "system", "content": RUBRIC}, {"role": "user", "content": shown}]


def verdict_messages(judged: Verdict) -> Messages:
    """A whole judge transcript."""
    answer = {"role": "assistant", "content": f"{judged.reason}\nScore: {judged.score}"}
    return [*verdict_prompt(judged.instruction, judged.response), answer]


def render(messages: Messages, *, generate: bool = False) -> str:
    """What the chat template gives, without its template engine: alignment renders some hundred thousand chats."""
    turns = "".join(f"{HEADER}{m['role']}{HEADER_END}\n\n{m['content'].strip()}{TURN_END}" for m in messages)
    return BEGIN + turns + (f"{HEADER}assistant{HEADER_END}\n\n" if generate else "")
