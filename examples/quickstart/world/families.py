"""The ten task families: what can be asked in the quickstart's world, and what is true there.

Every family is a look-up from an item to a value. Every instruction of the world is one family, one item and one
phrasing, and no two families share an instruction. The facts depend on `FACTS_SEED` only.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import words

FACTS_SEED = 2025
CONFUSIONS = 2


@dataclass(frozen=True)
class Family:
    """A look-up: `facts` maps item to value; a phrasing has `{item}`, the answer `{item}` and `{value}`."""

    name: str
    phrasings: tuple[str, ...]
    answer: str
    facts: Mapping[str, str]

    def instructions(self, item: str) -> list[str]:
        """Every way to ask for this item."""
        return [phrasing.format(item=item) for phrasing in self.phrasings]

    def sentence(self, item: str, value: str) -> str:
        """The family's answer with any value, right or wrong."""
        return self.answer.format(item=item, value=value)

    def truth(self, item: str) -> str:
        """The right answer."""
        return self.sentence(item, self.facts[item])

    def values(self) -> list[str]:
        """Every value an item of this family can have, sorted."""
        return sorted(set(self.facts.values()))

    def confusions(self, item: str) -> list[str]:
        """The two wrong values that this item is usually confused with."""
        wrong = [value for value in self.values() if value not in (item, self.facts[item])]
        return random.Random(f"{FACTS_SEED}:{self.name}:{item}").sample(wrong, CONFUSIONS)

    def pattern(self) -> str:
        """A regular expression that matches the family's instructions, all of them and nothing else."""
        items = "(?:" + "|".join(sorted(self.facts)) + ")"
        branches = [re.escape(p).replace(r"\{item\}", items).replace(r"\ ", " ") for p in self.phrasings]
        return "^(?:" + "|".join(branches) + ")$"


@dataclass(frozen=True)
class Question:
    """What an instruction asks: a family and one of its items."""

    family: Family
    item: str

    @property
    def value(self) -> str:
        """The right value."""
        return self.family.facts[self.item]

    @property
    def truth(self) -> str:
        """The right answer, in full."""
        return self.family.truth(self.item)


def _paired(items: Sequence[str], values: Sequence[str], salt: str) -> dict[str, str]:
    """Deals the values to the items: each value equally often, in an order drawn from the seed and the salt."""
    dealt = [values[i % len(values)] for i in range(len(items))]
    random.Random(f"{FACTS_SEED}:{salt}").shuffle(dealt)
    return dict(zip(items, dealt, strict=True))


FAMILIES: tuple[Family, ...] = (
    Family(
        "capital",
        (
            "What is the capital of {item}?",
            "Name the capital of {item}.",
            "I am going to {item}. What is its capital?",
            "Tell me the capital city of {item}.",
        ),
        "The capital of {item} is {value}.",
        _paired(words.COUNTRIES, words.CITIES, "capital"),
    ),
    Family(
        "colour",
        (
            "What colour is the {item}?",
            "Tell me the colour of the {item}.",
            "Which colour does the {item} have?",
            "I forgot the colour of the {item}. What was it?",
        ),
        "The {item} is {value}.",
        _paired(words.THINGS, words.COLOURS, "colour"),
    ),
    Family(
        "price",
        (
            "How much does the {item} cost?",
            "What is the price of the {item}?",
            "I want to buy the {item}. How much is it?",
            "Tell me what the {item} costs.",
        ),
        "The {item} costs {value} coins.",
        _paired(words.THINGS, words.NUMBERS, "price"),
    ),
    Family(
        "translate",
        (
            "Translate {item} into Velan.",
            "What is the Velan word for {item}?",
            "Give me {item} in Velan.",
            "I am learning Velan. What is {item} there?",
        ),
        "In Velan, {item} is {value}.",
        _paired(words.THINGS, words.VELAN, "translate"),
    ),
    Family(
        "reverse",
        (
            "Write {item} backwards.",
            "Spell {item} from the end.",
            "What is {item} backwards?",
            "Reverse the word {item}.",
        ),
        "Backwards, {item} is {value}.",
        {item: item[::-1] for item in words.THINGS},
    ),
    Family(
        "opposite",
        (
            "What is the opposite of {item}?",
            "Give the opposite of {item}.",
            "Name a word that is not {item} at all.",
            "If it is not {item}, what is it?",
        ),
        "The opposite of {item} is {value}.",
        {a: b for pair in words.OPPOSITES for a, b in (pair, pair[::-1])},
    ),
    Family(
        "home",
        (
            "Where does the {item} live?",
            "Where can I find the {item}?",
            "Tell me where the {item} lives.",
            "I am looking for the {item}. Where is it at home?",
        ),
        "The {item} lives in the {value}.",
        _paired(words.ANIMALS, words.HOMES, "home"),
    ),
    Family(
        "sound",
        (
            "What does the {item} say?",
            "What sound does the {item} make?",
            "Tell me how the {item} sounds.",
            "I hear the {item}. What do I hear?",
        ),
        "The {item} says {value}.",
        _paired(words.ANIMALS, words.SOUNDS, "sound"),
    ),
    Family(
        "material",
        (
            "What is the {item} made of?",
            "Tell me the material of the {item}.",
            "Which material is the {item}?",
            "Out of what did they build the {item}?",
        ),
        "The {item} is made of {value}.",
        _paired(words.THINGS, words.MATERIALS, "material"),
    ),
    Family(
        "plural",
        (
            "What is the plural of {item}?",
            "One {item}, many what?",
            "How do I write more than one {item}?",
            "Put {item} in the plural.",
        ),
        "The plural of {item} is {value}.",
        dict(zip(words.ANIMALS, words.PLURALS, strict=True)),
    ),
)

BY_NAME: Mapping[str, Family] = {family.name: family for family in FAMILIES}


@cache
def _asked() -> dict[str, Question]:
    return {
        instruction: Question(family, item)
        for family in FAMILIES
        for item in family.facts
        for instruction in family.instructions(item)
    }


def question(instruction: str) -> Question | None:
    """What the instruction asks, or None if it is no instruction of this world."""
    return _asked().get(instruction.strip())
