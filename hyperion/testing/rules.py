"""The check of a primitive's rules: against differences, against each other, and to higher orders in every mix."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hyperion.autograd import Primitive, Tensor, as_tensor, jvp, vjp
from hyperion.autograd.dtypes import is_inexact
from hyperion.errors import DtypeError, InputError
from hyperion.gpu import device
from hyperion.testing.adjoint import dot, norm, random_like

__all__ = ["check_rules"]

# Central differences in float64 lose a third of the digits: with this step rounding (eps / STEP) and truncation (STEP^2) are near 4e-11.
STEP = 6e-6
DIFFERENCE = 1e-6       # of the size of values and derivatives: leaves room for third derivatives of size 1e4


def check_rules(
    primitive: Primitive, samples: Iterable[tuple[Sequence[Any], dict[str, Any]]],
    order: int = 3, tolerance: float = 1e-10, seed: int = 0,
) -> None:
    """Check the rules of a primitive on samples: the jvp against central differences, the vjp against the jvp, to an order in every mix.

    Second and third derivatives are those of the vjp and of the jvp, each again by vjp and jvp: all 2^n mixes of forward and reverse.
    Derivatives are also taken with respect to the cotangent and the tangents, and with each input alone, since a rule may treat absent
    tangents apart.

    primitive: an entry of the table.
    samples: pairs (inputs, params); inputs that are floating must be float64 or complex128, others (bool, integer) are held fixed.
    order: highest order of derivative.  tolerance: of <J u, w> = <u, J' w>, relative to the norms of both sides.
    Raises: AssertionError that names the primitive, the sample, the mix and the size of the mismatch; InputError if there is no sample.

    >>> import numpy as np
    >>> from hyperion.autograd import PRIMITIVES
    >>> check_rules(PRIMITIVES["sin"], [((np.array([0.3, -1.2]),), {})])
    """
    count = 0
    for count, (inputs, params) in enumerate(samples, start=1):
        given = [as_tensor(x) for x in inputs]
        active = [i for i, x in enumerate(given) if is_inexact(x.dtype)]
        if any(given[i].dtype not in (np.float64, np.complex128) for i in active):
            dtypes = ", ".join(str(x.dtype) for x in given)
            raise InputError(f"check_rules({primitive.name}): sample {count} has dtypes {dtypes}; use float64 or complex128")
        name = f"{primitive.name}, sample {count}"
        whole = Restricted(primitive, given, params, active)
        if not active or not primitive.differentiable:
            _check_constant(whole, [given[i] for i in active], name)
            continue
        _check(whole, [given[i] for i in active], order, tolerance, np.random.default_rng(seed), name)
        for i in active if len(active) > 1 else ():
            alone = Restricted(primitive, given, params, [i])
            _check(alone, [given[i]], min(order, 2), tolerance, np.random.default_rng(seed), f"{name}, input {i} alone")
    if count == 0:
        raise InputError(f"check_rules({primitive.name}): samples is empty; give at least one (inputs, params)")


class Restricted:
    """A primitive as a function of some of its inputs, the others held fixed; the result is a tuple of its floating outputs."""

    def __init__(self, primitive: Primitive, given: list[Tensor], params: dict[str, Any], active: list[int]) -> None:
        self.primitive = primitive
        self.given = given
        self.params = params
        self.active = active

    def __call__(self, *xs: Any) -> tuple[Tensor, ...]:
        inputs: list[Any] = list(self.given)
        for i, x in zip(self.active, xs, strict=True):
            inputs[i] = x
        out = self.primitive(*inputs, **self.params)
        return tuple(x for x in (out if isinstance(out, tuple) else (out,)) if is_inexact(x.dtype))


def _check_constant(function: Restricted, xs: list[Tensor], name: str) -> None:
    """Check that an operation without derivatives records nothing, and gives zeros."""
    if not xs:
        return
    out, moved = jvp(function, tuple(xs), tuple(random_like(xs, np.random.default_rng(0))))
    if any(t.data.any() for t in moved) or any(x.tracked for x in out):
        raise AssertionError(f"{name}: it has no partial derivatives, but its tangent is not zero")


def _check(function: Callable[..., Any], xs: list[Tensor], order: int, tolerance: float, generator: np.random.Generator, mix: str) -> None:
    us = random_like(xs, generator)
    out, moved = jvp(function, tuple(xs), tuple(us))
    ws = random_like(out, generator)
    _compare_with_difference(function, xs, us, moved, mix)
    back = vjp(function, *xs)[1](ws)
    for x, g in zip(xs, back, strict=True):
        if g.dtype != x.dtype or g.shape != x.shape:
            raise DtypeError(f"{mix}: the cotangent of an input {x.dtype} {x.shape} is {g.dtype} {g.shape}; they must agree")
    forward, reverse = dot(moved, ws), dot(us, back)
    size = 1e-3 + norm(moved) * norm(ws) + norm(us) * norm(back)
    if not abs(forward - reverse) <= tolerance * size:
        raise AssertionError(f"{mix}: vjp and jvp disagree: <J u, w> = {forward!r}, <u, J' w> = {reverse!r}")
    if order > 1:
        n = len(xs)

        def pulled(*args: Any) -> Any:
            return vjp(function, *args[:n])[1](args[n:])

        def pushed(*args: Any) -> Any:
            return jvp(function, args[:n], args[n:])[1]

        _check(pulled, [*xs, *ws], order - 1, tolerance, generator, f"{mix} > vjp")
        _check(pushed, [*xs, *us], order - 1, tolerance, generator, f"{mix} > jvp")


def _compare_with_difference(function: Callable[..., Any], xs: list[Tensor], us: Any, moved: Any, mix: str) -> None:
    after = function(*(x + STEP * u for x, u in zip(xs, us, strict=True)))
    before = function(*(x - STEP * u for x, u in zip(xs, us, strict=True)))
    for high, low, tangent in zip(after, before, moved, strict=True):
        a, b, t = (device.to_numpy(x.data) for x in (high, low, tangent))
        difference = (a - b) / (2.0 * STEP)
        size = 1.0 + max(np.abs(array).max(initial=0.0) for array in (a, t))
        worst = np.abs(difference - t).max(initial=0.0)
        if not worst <= DIFFERENCE * size:
            raise AssertionError(f"{mix}: the jvp and central differences disagree by {worst:.3g}; values and derivatives reach {size:.3g}")
