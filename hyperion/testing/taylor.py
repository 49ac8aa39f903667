"""The Taylor test: the remainder of a Taylor polynomial falls as the next power of the step."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd import as_tensor, flatten, grad, jvp, tree_map
from hyperion.errors import InputError
from hyperion.gpu import device
from hyperion.testing.adjoint import dot

__all__ = ["taylor_test"]


def taylor_test(
    function: Callable[[Any], Any], x: Any, direction: Any,
    order: int = 1, step: float = 1e-2, halvings: int = 3, reverse: bool = False,
) -> tuple[float, ...]:
    """Return the observed orders at which the Taylor remainder of a function falls when the step is halved.

    With d the direction, the remainder is |f(x + h d) - f(x) - h f'(x) d - ... - h^n f^(n)(x) d^n / n!| with n = `order`. Right derivatives
    give orders near n + 1; a wrong first one gives 1.

    function: of one tree; returns a Tensor of any shape.  x, direction: trees of one structure, float64 for a meaningful result.
    order: derivatives taken, by nested jvp.  reverse: take the first derivative by `grad` instead; the function must return a scalar.
    step, halvings: the steps are step, step / 2, ..., step / 2^halvings: small enough for the remainder to be a power, large enough for it
        to stand out from rounding.
    Returns: one observed order per halving; infinite where the remainder is within rounding of zero (a polynomial).
    Raises: InputError for an order below 1, or above 1 with reverse.

    >>> import numpy as np
    >>> from hyperion.autograd import exp
    >>> all(1.9 < order < 2.1 for order in taylor_test(exp, np.array([0.1, 0.2]), np.array([1.0, -2.0])))
    True
    """
    if order < 1 or (reverse and order != 1) or halvings < 1:
        raise InputError(f"taylor_test: order={order}, halvings={halvings}, reverse={reverse}; give 1 or more, and order 1 with reverse")
    terms = [_array(function(x))]
    if reverse:
        terms.append(np.asarray(dot(grad(function)(x), direction)))
    else:
        derivative = function
        for n in range(1, order + 1):
            derivative = _along(derivative, direction)
            terms.append(_array(derivative(x)) / math.factorial(n))
    remainders: list[float] = []
    for k in range(halvings + 1):
        h = step / 2.0 ** k
        moved = _array(function(tree_map(lambda a, d, h=h: as_tensor(a) + h * as_tensor(d), x, direction)))
        remainders.append(float(np.linalg.norm(moved - sum(term * h ** n for n, term in enumerate(terms)))))
    floor = 8.0 * np.finfo(np.float64).eps * float(np.linalg.norm(terms[0]))
    return tuple(math.log2(big / small) if small > floor else math.inf for big, small in itertools.pairwise(remainders))


def _along(function: Callable[[Any], Any], direction: Any) -> Callable[[Any], Any]:
    """Return the derivative of a function along a direction, as a function of where."""
    return lambda x: jvp(function, (x,), (direction,))[1]


def _array(value: Any) -> Any:
    leaves, _ = flatten(value)
    return np.concatenate([device.to_numpy(as_tensor(leaf).data).astype(np.float64).ravel() for leaf in leaves])
