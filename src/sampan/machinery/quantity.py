"""Amounts of resources: `100m`, `1.5`, `64Mi`, `2e3`.

A quantity is an exact number of thousand-millionths (finer input is rounded away from zero, as upstream does) that
remembers in which notation it was written, so that it can be written back in canonical form: no fraction, and the
largest suffix that loses nothing. Source: `k8s.io/apimachinery/pkg/api/resource`.
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache, total_ordering
from typing import Literal

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

MAX_LENGTH = 128
"""Characters of a quantity. Its largest value has 28 digits."""

_NANO = 10**9
_MAX = (2**63 - 1) * _NANO
_FORMAT_WRONG = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)  # fmt: skip
_SUFFIX_WRONG = "unable to parse quantity's suffix"
_NUMBER_WRONG = "unable to parse numeric part of quantity"

_shape = re.compile(r"([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)", re.ASCII).fullmatch
_number = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)", re.ASCII).fullmatch
_exponent = re.compile(r"[eE]([+-]?[0-9]{1,9})", re.ASCII).fullmatch

_BINARY = {f"{letter}i": 1024**power for power, letter in enumerate("KMGTPE", start=1)}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX = {factor: suffix for suffix, factor in _BINARY.items()} | {1: ""}


class QuantityError(ValueError):
    """The text is not a quantity; the message is upstream's."""


@total_ordering
@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount in units of 10⁻⁹. Equal amounts are equal in any notation; arithmetic keeps the left one's."""

    nano: int = 0
    format: Format = field(default="DecimalSI", compare=False)

    def value(self) -> int:
        """Whole units, rounded away from zero."""
        return _divide_up(self.nano, _NANO)

    def milli(self) -> int:
        """Thousandths, rounded away from zero."""
        return _divide_up(self.nano, 10**6)

    def __lt__(self, other: "Quantity") -> bool:
        return self.nano < other.nano

    def __add__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nano + other.nano, self.format if self.nano else other.format)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nano - other.nano, self.format if self.nano else other.format)

    def __mul__(self, factor: int) -> "Quantity":
        return Quantity(self.nano * factor, self.format)

    def __neg__(self) -> "Quantity":
        return Quantity(-self.nano, self.format)

    def __bool__(self) -> bool:
        return self.nano != 0

    def __float__(self) -> float:
        return self.nano / _NANO

    def __str__(self) -> str:
        """The canonical form, which is how the API stores it."""
        if self.format == "BinarySI" and self.nano % _NANO == 0 and abs(self.nano) >= 1024 * _NANO:
            return _binary(self.nano // _NANO)
        return _decimal(self.nano, self.format)


ZERO = Quantity()


def parse(text: str | int | float) -> Quantity:
    """Read a quantity, also from a JSON number. Raises QuantityError.

    Nothing longer than MAX_LENGTH is looked at: reading takes quadratic time, and what is read is kept.
    """
    return _parse(_bounded(text))


def _bounded(text: str | int | float) -> str:
    if isinstance(text, int) and text.bit_length() > 256:
        raise QuantityError(_FORMAT_WRONG)
    shown = str(text)
    if len(shown) > MAX_LENGTH:
        raise QuantityError(_FORMAT_WRONG)
    return shown


@lru_cache(maxsize=4096)
def _parse(text: str) -> Quantity:
    match = _shape(text.strip())
    if match is None:
        raise QuantityError(_FORMAT_WRONG)
    number, suffix = match.groups()
    if not _number(number):
        raise QuantityError(_NUMBER_WRONG)
    factor, notation = _factor(suffix)
    nano = _round_away(Fraction(Decimal(number)) * factor * _NANO)
    return Quantity(max(-_MAX, min(nano, _MAX)), notation)


def canonical(text: str | int | float) -> str:
    """The form in which the API stores a quantity. Raises QuantityError."""
    return _canonical(_bounded(text))


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    return str(_parse(text))


def from_milli(milli: int) -> Quantity:
    return Quantity(milli * 10**6)


def from_bytes(count: int) -> Quantity:
    return Quantity(count * _NANO, "BinarySI")


def _factor(suffix: str) -> tuple[Fraction, Format]:
    if suffix in _BINARY:
        return Fraction(_BINARY[suffix]), "BinarySI"
    if suffix in _DECIMAL:
        return Fraction(10) ** _DECIMAL[suffix], "DecimalSI"
    match = _exponent(suffix)
    if match is None:
        raise QuantityError(_SUFFIX_WRONG)
    power = max(-40, min(int(match[1]), 40))
    return Fraction(10) ** power, "DecimalExponent"


def _binary(units: int) -> str:
    factor = 1
    while units % 1024 == 0 and factor < 1024**6:
        units, factor = units // 1024, factor * 1024
    return f"{units}{_BINARY_SUFFIX[factor]}"


def _decimal(nano: int, notation: Format) -> str:
    if nano == 0:
        return "0"
    power = -9
    while nano % 1000 == 0 and power < 18:
        nano, power = nano // 1000, power + 3
    if notation == "DecimalExponent":
        return f"{nano}e{power}" if power else str(nano)
    return f"{nano}{_DECIMAL_SUFFIX[power]}"


def _round_away(number: Fraction) -> int:
    return _divide_up(number.numerator, number.denominator)


def _divide_up(number: int, divisor: int) -> int:
    return -(-number // divisor) if number > 0 else number // divisor
