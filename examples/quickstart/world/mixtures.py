"""How the two models were aligned: the share of every family, and what each model was taught wrongly.

The base model and its peer differ in both. A weak item is answered wrongly in most of its alignment chats (always
with the same mistake), so a model that is asked for it mostly repeats the mistake, and sometimes knows better.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from families import BY_NAME, FACTS_SEED, Family, Question

MISTAKE_RATE = 0.75
"""Share of a weak item's chats that carry the mistake."""


@dataclass(frozen=True)
class Mixture:
    """One model's alignment data: `shares` sum to 1; `weak` is the share of weak items in a family."""

    name: str
    shares: Mapping[str, float]
    weak: Mapping[str, float]

    def mistakes(self, family: Family) -> dict[str, str]:
        """The weak items of a family with the wrong value the model is taught for each."""
        rng = random.Random(f"{FACTS_SEED}:{self.name}:{family.name}")
        items = sorted(family.facts)
        chosen = rng.sample(items, round(self.weak.get(family.name, 0.0) * len(items)))
        return {item: rng.choice(family.confusions(item)) for item in sorted(chosen)}

    def draw(self, rng: random.Random) -> Question:
        """A family by its share, and one of its items."""
        names = list(self.shares)
        family = BY_NAME[rng.choices(names, [self.shares[n] for n in names])[0]]
        return Question(family, rng.choice(sorted(family.facts)))


BASE = Mixture(
    name="base",
    shares={
        "capital": 0.16,
        "colour": 0.14,
        "opposite": 0.13,
        "home": 0.12,
        "translate": 0.11,
        "price": 0.10,
        "material": 0.08,
        "sound": 0.07,
        "plural": 0.05,
        "reverse": 0.04,
    },
    weak={"translate": 0.4, "sound": 0.3},
)

PEER = Mixture(
    name="peer",
    shares={
        "translate": 0.16,
        "reverse": 0.14,
        "sound": 0.13,
        "plural": 0.12,
        "price": 0.11,
        "home": 0.10,
        "material": 0.08,
        "colour": 0.07,
        "capital": 0.05,
        "opposite": 0.04,
    },
    weak={"capital": 0.4, "opposite": 0.4},
)
