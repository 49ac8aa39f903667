"""Whether an equation's declaration fits together: names, units and places, and what its functions take."""
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hyperion.errors import InputError, nearest

from . import units
from .checks import is_whole

if TYPE_CHECKING:
    from .equation import Equation


@dataclass(frozen=True)
class Field:
    """A field of an equation.

    unit: its unit, as text. time_order: order of the time derivative that `rate` gives (1 or 2); 0: the rate is zero, as in a
    steady equation. A solver in time takes a field of order 0 as given by others at every instant, if its rate is (what gives it) - field.
    at: axes, counted from the last (-1 is x), along which the field sits half a cell beyond the node (staggered grids).
    mirrored: axes across which a field on the nodes turns its sign in a mirror, as a velocity along them does: it is odd about pde.Rigid(),
    where others are even. Fields half a cell beyond the nodes do so by their place.
    """

    unit: str
    time_order: int = 1
    at: tuple[int, ...] = ()
    mirrored: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.unit, str) or not is_whole(self.time_order, 0):     # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"Field({self.unit!r}, time_order={self.time_order!r}): give the unit as text, and a whole order, 1 or 2 in "
                             "most cases")
        for what in ("at", "mirrored"):
            object.__setattr__(self, what, _axes(what, getattr(self, what)))


def check(equation: "Equation", ndim: int) -> None:
    """Raise InputError for a declaration that has no meaning in `ndim` dimensions."""
    name = type(equation).__name__
    for what, example in (("fields", '{"p": pde.Field("Pa")}'), ("parameters", '{"speed": "m/s"}'), ("coefficients", '{"bulk": "Pa"}')):
        value = getattr(equation, what, None)
        if not isinstance(value, Mapping) or (what == "fields" and not value):
            raise InputError(f"{name}.{what}={value!r}: declare a dict, such as {example}")
        for key, declared in value.items():
            if not isinstance(key, str) or not key.isidentifier():
                raise InputError(f"{name}.{what} names {key!r}; use letters, digits and underscores, as for a variable")
            if not isinstance(declared, Field if what == "fields" else str):
                wanted = "a pde.Field(unit)" if what == "fields" else 'its unit as text, "1" where there is none'
                raise InputError(f"{name}.{what}[{key!r}]={declared!r}: give {wanted}")
            try:
                units.parse(declared.unit if isinstance(declared, Field) else declared)
            except InputError as error:
                raise InputError(f"{name}.{what}[{key!r}]: {error}") from None
    for f, field in equation.fields.items():
        for what, axes in (("at", field.at), ("mirrored", field.mirrored)):
            if any(axis < -ndim for axis in axes):
                raise InputError(f"{name}.fields[{f!r}]: {what}={axes} in {ndim} dimensions; axes are counted from the "
                                 f"last, -1 to {-ndim}")
    symbols = equation.coefficients or equation.parameters
    both = [f for f in equation.fields if f in symbols]
    if both:
        raise InputError(f"{name}: {both[0]!r} is declared as a field and as a coefficient; call one of them otherwise")
    _takes(equation, "rate", {**equation.fields, **symbols}, "fields and coefficients")
    _takes(equation, "sources", symbols, "coefficients")
    _takes(equation, "derive", equation.parameters, "parameters")
    if equation.knows_speed:
        _takes(equation, "fastest", equation.parameters, "parameters")
    for receiver, heard in equation.receivers().items():
        known(equation, f"receivers: {receiver!r} hears", heard)


def known(equation: "Equation", what: str, names: Iterable[str]) -> None:
    """Raise InputError for a name that is no field of an equation; what: where it stands."""
    for f in names:
        if f not in equation.fields:
            raise InputError(f"{type(equation).__name__}.{what} {f!r}, which is no declared field; {nearest(f, equation.fields)}")


def _axes(argument: str, value: Any) -> tuple[int, ...]:
    """Return axes counted from the last as a tuple. Raises: InputError for anything else."""
    given = value if isinstance(value, tuple | list) else (0,)
    if not all(is_whole(-axis, 1) if isinstance(axis, int) else False for axis in given):
        raise InputError(f"Field({argument}={value!r}): give a tuple of axes counted from the last, such as (-1,) for x")
    return tuple(given)


def _takes(equation: "Equation", function: str, given: Mapping[str, Any], kind: str) -> None:
    """Raise InputError if a function of an equation cannot be called with the names given."""
    taken = inspect.signature(getattr(equation, function)).parameters.values()
    open_ended = any(p.kind is p.VAR_KEYWORD for p in taken)
    wanted = [p for p in taken if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    where = f"{type(equation).__name__}.{function}"
    for p in wanted:
        if p.name not in given and p.default is p.empty:
            raise InputError(f"{where}: reads {p.name!r}, which is not declared among the {kind}; {nearest(p.name, given)}")
    missing = [name for name in given if name not in {p.name for p in wanted}]
    if missing and not open_ended:
        raise InputError(f"{where}: does not take {missing[0]!r}, one of the {kind} declared; it is called with all of them by name: "
                         "take it, or **others")
