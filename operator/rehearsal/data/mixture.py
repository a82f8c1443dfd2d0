"""How many rows of which set are mixed, which ones, and in what order. Pure: a plan can be refused before any row is made.

The order of a mix takes four bytes of memory a row of it, and of either set.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, StrEnum
from fractions import Fraction
from math import floor
from typing import Literal

from rehearsal.api.messages import Refused
from rehearsal.api.run import Mixture, MixtureMode
from rehearsal.data.draw import shuffled


class Source(StrEnum):
    """Which set a row comes from."""

    REHEARSAL = "rehearsal"
    DOMAIN = "domain"


class Unknown(Enum):
    """A size that nobody has counted yet: of a public set that is still on its hub, say. It is not a set of no rows."""

    SIZE = "unknown"


@dataclass(frozen=True)
class MixturePlan:
    """Rows of the mix from each set, and rows there are. More domain rows than there are means that some repeat."""

    rehearsal: int
    domain: int
    rehearsal_available: int
    domain_available: int

    @property
    def total(self) -> int:
        """Rows of the mix."""
        return self.rehearsal + self.domain

    @property
    def domain_fraction(self) -> float:
        """Share of domain rows that came of it."""
        return self.domain / self.total

    @property
    def domain_used(self) -> float:
        """Share of the domain rows there are that the mix holds, once or more often."""
        return min(self.domain, self.domain_available) / self.domain_available

    @property
    def domain_repeats(self) -> int:
        """Rows of the mix that repeat a domain row that is in it already."""
        return max(0, self.domain - self.domain_available)


@dataclass(frozen=True)
class Pick:
    """One row of the mix: the set, the row's index there, and how many times that row was picked before."""

    source: Source
    index: int
    repeat: int


def plan_mixture(rehearsal: int | None, domain: int, spec: Mixture) -> MixturePlan:
    """Return how many of the available rows are mixed, or raise Refused with the arithmetic.

    With the domain fraction f, as written in decimal digits, halves rounded up:

        totalSamples T    domain = f T, rehearsal = T - domain
        no totalSamples   rehearsal = all R rows, domain = R f / (1 - f)     100,000 at 17 %: 20,481.9 -> 20,482

    so the share of domain rows is f to within one row, and at least one domain row is in the mix. The mode Concatenate
    takes both sets whole. Without rehearsal (None: a control) the mix is the domain rows, each once, up to totalSamples.
    """
    if domain == 0 or rehearsal == 0:
        raise Refused(f"the {'domain' if domain == 0 else 'rehearsal'} set has no usable rows", "NothingToTrain")
    if rehearsal is None:
        return MixturePlan(0, min(domain, spec.total_samples or domain), 0, domain)
    if spec.mode is MixtureMode.CONCATENATE:
        return MixturePlan(rehearsal, domain, rehearsal, domain)
    plan = _by_fraction(rehearsal, domain, Fraction(Decimal(repr(spec.domain_fraction))), spec.total_samples)
    _refuse_shortfall(plan, f"{100 * spec.domain_fraction:g} %", spec.repeat_domain)
    return plan


def check_mixture(rehearsal: int | Unknown | None, domain: int, spec: Mixture) -> int | Literal[Unknown.SIZE]:
    """Return how many rows will be mixed, as far as that is known, or raise Refused as `plan_mixture` does.

    Where the size of the rehearsal set is unknown, only `totalSamples` tells how many domain rows are needed.
    """
    if rehearsal is not Unknown.SIZE:
        return plan_mixture(rehearsal, domain, spec).total
    if spec.total_samples is None:
        plan_mixture(None, domain, spec)
        return Unknown.SIZE
    return plan_mixture(spec.total_samples, domain, spec).total


def mixed(plan: MixturePlan, seed: str) -> Iterator[Pick]:
    """Yield the rows of the mix in their seeded order.

    Which rows are drawn depends on the seed and on how many the set has, not on the other set: a control that takes as
    many domain rows takes the same ones. Repeats are whole passes over the set, and a draw for the rest.
    """
    rehearsal = shuffled(plan.rehearsal_available, seed, Source.REHEARSAL)
    domain = shuffled(plan.domain_available, seed, Source.DOMAIN)
    for place in shuffled(plan.total, seed, "order"):
        if place < plan.rehearsal:
            yield Pick(Source.REHEARSAL, rehearsal[place], 0)
        else:
            times, rest = divmod(place - plan.rehearsal, plan.domain_available)
            yield Pick(Source.DOMAIN, domain[rest], times)


def _by_fraction(rehearsal: int, domain: int, fraction: Fraction, total: int | None) -> MixturePlan:
    if total is None:
        wanted = max(1, _rounded(rehearsal * fraction / (1 - fraction)))
        return MixturePlan(rehearsal, wanted, rehearsal, domain)
    wanted = max(1, _rounded(total * fraction))
    return MixturePlan(total - wanted, wanted, rehearsal, domain)


def _refuse_shortfall(plan: MixturePlan, share: str, repeat_domain: bool) -> None:
    sought = f"a mix of {plan.total:,} rows, {share} of them domain rows, needs"
    if plan.rehearsal > plan.rehearsal_available:
        raise Refused(
            f"spec.mixture.totalSamples: {sought} {plan.rehearsal:,} rehearsal rows, and there are {plan.rehearsal_available:,}; "
            "lower it, or leave it out to take all of them",
            "TooFewRows",
        )
    if plan.domain > plan.domain_available and not repeat_domain:
        raise Refused(
            f"spec.mixture.domainFraction: {sought} {plan.domain:,} domain rows, and there are {plan.domain_available:,}: "
            f"{plan.domain - plan.domain_available:,} too few; add rows, lower it, or set spec.mixture.repeatDomain",
            "TooFewRows",
        )


def _rounded(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))
