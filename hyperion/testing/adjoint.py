"""The dot test: a map and its transpose give the same number, <A u, w> = <u, A' w>."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, as_tensor, flatten, jvp, unflatten, vjp
from hyperion.autograd.dtypes import is_complex
from hyperion.errors import InputError, TreeError
from hyperion.gpu import device

__all__ = ["dot", "dot_test", "norm", "random_like"]


def random_like(tree: Any, generator: np.random.Generator) -> Any:
    """Return a tree of normally distributed Tensors, each of the shape, dtype and device of the leaf at its place."""
    leaves, structure = flatten(tree)
    tensors = [as_tensor(leaf) for leaf in leaves]
    return unflatten(structure, [
        Tensor(device.to_device(_normal(generator, x).astype(x.dtype, copy=False), x.device)) for x in tensors
    ])


def _normal(generator: np.random.Generator, x: Tensor) -> Any:
    values = generator.standard_normal(x.shape)
    return values + 1j * generator.standard_normal(x.shape) if is_complex(x.dtype) else np.asarray(values)


def dot(x: Any, y: Any) -> float:
    """Return the sum of products of all elements of two trees, computed in float64; of complex ones the real part, without conjugation."""
    left, right = flatten(x)[0], flatten(y)[0]
    if len(left) != len(right):
        raise TreeError(f"dot(x, y): x has {len(left)} leaves, y has {len(right)}; they must agree")
    total = 0.0
    for a, b in zip(left, right, strict=True):
        first, second = (_wide(device.to_numpy(as_tensor(part).data)) for part in (a, b))
        if first.shape != second.shape:
            raise InputError(f"dot(x, y): leaves have shapes {first.shape} and {second.shape}; they must agree")
        total += float(np.sum(first * second).real)
    return total


def _wide(array: Any) -> Any:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def norm(x: Any) -> float:
    """Return the square root of the sum of squared absolute values of all elements of a tree, computed in float64."""
    arrays = [np.abs(_wide(device.to_numpy(as_tensor(leaf).data))) for leaf in flatten(x)[0]]
    return float(np.sqrt(sum(np.sum(array * array) for array in arrays)))


def dot_test(
    function: Callable[..., Any], args: Sequence[Any], transpose: Callable[[Any], Any] | None = None,
    tolerance: float = 1e-12, seed: int = 0,
) -> float:
    """Check that forward and reverse derivatives of a function agree: <J u, w> = <u, J' w> for random u and w.

    function: of the trees in `args`; returns a tree of Tensors (or arrays, with transpose).
    args: tuple of trees of floating Tensors or arrays: where the Jacobian J is taken.
    transpose: of a linear function, w -> a tuple of trees like args, or one tree for one argument; J is then the function itself.
        None: J u comes from jvp, J' w from vjp.
    tolerance: largest relative difference; 1e-12 fits float64, 1e-4 float32.
    Returns: the relative difference |<J u, w> - <u, J' w>| / max(|<J u, w>|, |<u, J' w>|).
    Raises: AssertionError above the tolerance, or if either number is not finite.

    >>> import numpy as np
    >>> from hyperion.autograd import sin
    >>> dot_test(lambda x: sin(x) * x, (np.linspace(0.0, 1.0, 5),)) < 1e-12
    True
    >>> dot_test(np.flip, (np.ones(3),), transpose=np.flip) < 1e-12
    True
    """
    if not isinstance(args, tuple | list):
        raise InputError(f"dot_test(function, args): args is a {type(args).__name__}; it must be a tuple with one entry per argument")
    generator = np.random.default_rng(seed)
    directions = random_like(tuple(args), generator)
    if transpose is None:
        value, moved = jvp(function, args, directions)
        weights = random_like(value, generator)
        back: Any = vjp(function, *args)[1](weights)
    else:
        moved = function(*(unwrap(args, directions)))
        weights = unwrap(moved, random_like(moved, generator))
        back = transpose(weights)
        if len(args) == 1 and not (isinstance(back, tuple) and len(back) == 1):
            back = (back,)
    forward, reverse = dot(moved, weights), dot(directions, back)
    difference = abs(forward - reverse) / max(abs(forward), abs(reverse), np.finfo(np.float64).tiny)
    if not difference <= tolerance:         # also true for NaN
        raise AssertionError(
            f"dot test: <J u, w> = {forward!r}, <u, J' w> = {reverse!r}, relative difference {difference:.3g} > {tolerance:.3g}"
        )
    return difference


def unwrap(like: Any, tree: Any) -> Any:
    """Return a tree of Tensors with a raw array wherever `like` has one: a function of arrays is given arrays."""
    kinds, structure = flatten(like)
    return unflatten(structure, [x if isinstance(kind, Tensor) else x.data for kind, x in zip(kinds, flatten(tree)[0], strict=True)])
