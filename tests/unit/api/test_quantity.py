from decimal import Decimal

import pytest

from rehearsal.api.quantity import quantity


@pytest.mark.parametrize(
    ("text", "value"), [("500m", "0.5"), ("2", 2), (2, 2), ("1.5Gi", 1.5 * 2**30), ("4k", 4000), ("1Ki", 1024), ("0", 0)]
)
def test_quantities_are_read_as_kubernetes_writes_them(text: str, value: str) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "much", "1Zi", "Gi"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises((ArithmeticError, KeyError)):
        quantity(text)
