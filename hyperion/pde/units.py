"""Units as text, such as "kg/m^3", and as exponents of kg, m, s, A, K and mol."""
import functools
import re
from fractions import Fraction

from hyperion.errors import InputError, nearest

BASE = ("kg", "m", "s", "A", "K", "mol")
Dimension = tuple[Fraction, ...]                       # exponents of the base units
NONE: Dimension = (Fraction(0),) * len(BASE)
_FACTOR = re.compile(r"([A-Za-z]+|1)(?:\^(-?\d+(?:/\d+|\.\d+)?))?")
_DERIVED = {
    "rad": "1", "Hz": "1/s", "N": "kg m/s^2", "Pa": "kg/m/s^2", "J": "kg m^2/s^2", "W": "kg m^2/s^3", "C": "A s", "V": "kg m^2/s^3/A",
    "F": "s^4 A^2/kg/m^2", "S": "s^3 A^2/kg/m^2", "ohm": "kg m^2/s^3/A^2", "H": "kg m^2/s^2/A^2", "T": "kg/s^2/A", "Wb": "kg m^2/s^2/A",
}


@functools.cache
def parse(unit: str) -> Dimension:
    """Return the exponents of the base units in a unit: SI symbols without prefixes (but kg), with ^ for powers; a slash divides by the one
    symbol after it, a space multiplies.

    Raises: InputError for a text that is no unit.

    >>> parse("Pa") == parse("N/m^2") == parse("J/m^3"), parse("kg/m^3") == parse("kg m^-3"), parse("1") == parse("rad")
    (True, True, True)
    """
    total, divide, at = list(NONE), False, 0
    text = unit.strip()
    while True:
        found = _FACTOR.match(text, at)
        if not found:
            raise InputError(f"unit {unit!r}: a symbol is expected at {text[at:]!r}; write units as in 'kg/m^3', 'Pa s', 'm^2/s' or '1'")
        power = Fraction(found[2] or 1) * (-1 if divide else 1)
        total = [a + power * b for a, b in zip(total, _symbol(found[1], unit), strict=True)]
        between, at = re.match(r"\s*([/*]?)\s*", text[found.end():]), found.end()
        assert between is not None
        at, divide = at + between.end(), between[1] == "/"
        if at == len(text) and not between[1]:
            return tuple(total)


def _symbol(name: str, unit: str) -> Dimension:
    if name == "1":
        return NONE
    if name in BASE:
        return tuple(Fraction(int(base == name)) for base in BASE)
    if name in _DERIVED:
        return parse(_DERIVED[name])
    raise InputError(f"unit {unit!r}: {name!r} is no SI symbol without a prefix; {nearest(name, [*BASE, *_DERIVED])}")


def times(*parts: tuple[Dimension, int]) -> Dimension:
    """Return the product of units, each to a power.

    >>> text(times((parse("m/s"), 2), (parse("m"), -2)))
    '1/s^2'
    """
    return tuple(sum((power * unit[k] for unit, power in parts), Fraction(0)) for k in range(len(BASE)))


def text(dimension: Dimension) -> str:
    """Return a unit as text, in base units.

    >>> text(parse("Pa")), text(parse("1")), text(parse("1/s"))
    ('kg/m/s^2', '1', '1/s')
    """
    def power(name: str, n: Fraction) -> str:
        return name if n == 1 else f"{name}^{n}"
    above = " ".join(power(base, n) for base, n in zip(BASE, dimension, strict=True) if n > 0)
    below = "".join("/" + power(base, -n) for base, n in zip(BASE, dimension, strict=True) if n < 0)
    return (above or "1") + below
