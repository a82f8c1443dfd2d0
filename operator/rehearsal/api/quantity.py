"""Amounts as Kubernetes writes them, and what they come to: "500m" of a core, "64Gi" of memory."""

from decimal import Decimal
from typing import Annotated

from pydantic import StringConstraints

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]

_SUFFIXES = {"m": Decimal("0.001"), "": Decimal(1)}
_SUFFIXES |= {suffix: Decimal(1000) ** power for power, suffix in enumerate(("k", "M", "G", "T", "P"), 1)}
_SUFFIXES |= {suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), 1)}


def quantity(text: str | float) -> Decimal:
    """Return a Kubernetes quantity ("500m", "64Gi", 2) in its base unit. Raises ArithmeticError or KeyError when it is none."""
    digits = str(text).rstrip("kKMGTPim")
    return Decimal(digits) * _SUFFIXES[str(text)[len(digits) :]]
