"""Quantities are exact, compare by amount and are written in upstream's canonical form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery import quantity
from sampan.machinery.quantity import Quantity, QuantityError

CANONICAL = [
    ("0", "0"),
    ("0Mi", "0"),
    ("1", "1"),
    ("0.5", "500m"),
    (".5", "500m"),
    ("1.", "1"),
    ("1000m", "1"),
    ("1500m", "1500m"),
    ("1000", "1k"),
    ("100000", "100k"),
    ("1024", "1024"),
    ("1024Mi", "1Gi"),
    ("100Mi", "100Mi"),
    ("1.5Gi", "1536Mi"),
    ("1Ki", "1Ki"),
    ("0.5Ki", "512"),
    ("0.001Ki", "1024m"),
    ("1e3", "1e3"),
    ("12E2", "1200"),
    ("1E", "1E"),
    ("1E3", "1e3"),
    ("-1", "-1"),
    ("+1", "1"),
    ("-1.5Gi", "-1536Mi"),
    ("1n", "1n"),
    ("0.1n", "1n"),
    ("0.0000000001", "1n"),
    ("9223372036854775807", "9223372036854775807"),
    ("99999999999999999999", "9223372036854775807"),
    (2, "2"),
    (0.25, "250m"),
]


@pytest.mark.parametrize(("text", "expected"), CANONICAL)
def test_a_quantity_is_written_in_canonical_form(text, expected):
    assert str(quantity.parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "quantities must match the regular expression"),
        ("Mi", "quantities must match the regular expression"),
        ("1 Mi", "quantities must match the regular expression"),
        ("100mb", "quantities must match the regular expression"),
        ("1e", "unable to parse quantity's suffix"),
        ("1mi", "unable to parse quantity's suffix"),
        ("1KM", "unable to parse quantity's suffix"),
        ("1.2.3", "unable to parse numeric part of quantity"),
        (".", "unable to parse numeric part of quantity"),
    ],
)
def test_a_wrong_quantity_is_refused_in_upstream_words(text, message):
    with pytest.raises(QuantityError, match=message):
        quantity.parse(text)


def test_amounts_compare_whatever_their_notation():
    assert quantity.parse("1Gi") == quantity.parse("1073741824")
    assert hash(quantity.parse("1Gi")) == hash(quantity.parse("1073741824"))
    assert quantity.parse("1G") < quantity.parse("1Gi")
    assert quantity.parse("100m") <= quantity.parse("0.1")


def test_arithmetic_keeps_the_notation_of_the_left_side_unless_that_is_zero():
    assert str(quantity.parse("1Gi") + quantity.parse("1024")) == "1048577Ki"
    assert str(quantity.ZERO + quantity.parse("2Gi")) == "2Gi"
    assert str(quantity.parse("1") - quantity.parse("250m")) == "750m"
    assert str(quantity.parse("64Mi") * 3) == "192Mi"


def test_whole_units_and_thousandths_are_rounded_away_from_zero():
    assert quantity.parse("1001m").value() == 2
    assert quantity.parse("-1001m").value() == -2
    assert quantity.parse("1u").milli() == 1
    assert quantity.from_milli(1500) == quantity.parse("1.5")
    assert str(quantity.from_bytes(2**20)) == "1Mi"


@given(
    st.integers(-(10**27), 10**27),
    st.sampled_from(["DecimalSI", "BinarySI", "DecimalExponent"]),
)
def test_what_is_written_reads_back_as_the_same_amount(nano, notation):
    amount = Quantity(nano, notation)
    assert quantity.parse(str(amount)) == amount


@given(st.text(alphabet="0123456789.eEinumkKMGTP+- ", max_size=12))
def test_any_text_is_either_a_quantity_or_refused(text):
    try:
        amount = quantity.parse(text)
    except QuantityError:
        return
    assert quantity.parse(str(amount)) == amount
