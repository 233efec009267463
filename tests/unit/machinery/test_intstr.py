"""Numbers and percentages of a total."""

import pytest

from sampan.machinery import intstr


@pytest.mark.parametrize(
    ("value", "total", "up", "down"),
    [(3, 10, 3, 3), ("25%", 10, 3, 2), ("100%", 7, 7, 7), ("0%", 7, 0, 0), ("1%", 1, 1, 0), ("150%", 2, 3, 3)],
)
def test_a_percentage_is_scaled_up_or_down(value, total, up, down):
    assert intstr.scaled(value, total, round_up=True) == up
    assert intstr.scaled(value, total, round_up=False) == down


@pytest.mark.parametrize("value", ["", "25", "%", "x%", "-5%", "2.5%"])
def test_any_other_string_is_refused(value):
    assert not intstr.is_percent(value)
    with pytest.raises(ValueError, match="not a percentage"):
        intstr.scaled(value, 10, round_up=True)
