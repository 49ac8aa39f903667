"""Gradients kept small: by their norm or by their values, in both habits."""

import math
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, as_tensor, functions, trees
from hyperion.autograd.dtypes import is_complex, real_dtype
from hyperion.autograd.graph import state
from hyperion.errors import InputError
from hyperion.gpu import device, multitensor
from hyperion.optim import native
from hyperion.optim.optimizer import raw, read_parameters

__all__ = ["clip_gradient_norm", "clip_gradient_values", "clipped_by_norm", "clipped_by_value"]


def clip_gradient_norm(parameters: Any, limit: float) -> Any:
    """Scale the gradients of parameters down such that their norm, taken over all of them, is at most a limit; return the norm before.

    parameters: see Optimizer; those without a gradient are left out. limit: above 0; infinity only measures.
    In a compiled function (`hp.jit`) the norm is a Tensor.
    It is summed in float64. If it is not finite the gradients stay as they are: `step` then names those at fault.
    Raises: InputError for a limit that is not above 0.

    >>> import hyperion as hp
    >>> x = hp.asarray([3.0, 4.0], requires_grad=True)
    >>> hp.sum(0.5 * x * x).backward()
    >>> clip_gradient_norm([x], 1.0), x.grad
    (5.0, Tensor (2,) float32, cpu: [0.6 0.8])
    """
    leaves = _with_gradients(parameters)
    if state.recorder is not None:
        return _recorded(leaves, limit)
    new, norm = _scaled([leaf.grad for leaf in leaves], limit)
    for leaf, gradient in zip(leaves, new, strict=True):
        if gradient is not leaf.grad:
            leaf.grad = gradient
    return norm


def clip_gradient_values(parameters: Any, limit: float) -> None:
    """Bring every element of the gradients of parameters into [-limit, limit].

    Raises: InputError for a limit that is not above 0.

    >>> import hyperion as hp
    >>> x = hp.asarray([3.0, -0.5], requires_grad=True)
    >>> hp.sum(x * x).backward()
    >>> clip_gradient_values([x], 2.0)
    >>> x.grad
    Tensor (2,) float32, cpu: [ 2. -1.]
    """
    for leaf in _with_gradients(parameters):
        recorded = state.recorder is not None and leaf.grad is not None and not is_complex(leaf.grad.dtype)
        leaf.grad = functions.clip(leaf.grad, -limit, limit) if recorded and limit > 0.0 else clipped_by_value(leaf.grad, limit)


def clipped_by_norm(gradients: Any, limit: float) -> tuple[Any, float]:
    """Return a tree of gradients scaled down such that its norm is at most a limit, and the norm before.

    See `clip_gradient_norm`; the tree is left as it is.

    >>> import numpy as np
    >>> clipped_by_norm({"w": np.array([3.0, 4.0])}, 1.0)
    ({'w': array([0.6, 0.8])}, 5.0)
    """
    leaves, structure = trees.flatten(gradients)
    new, norm = _scaled(leaves, limit)
    return trees.unflatten(structure, new), norm


def clipped_by_value(gradients: Any, limit: float) -> Any:
    """Return a tree of gradients with every element brought into [-limit, limit].

    Raises: InputError for a limit that is not above 0, and for complex gradients.

    >>> import numpy as np
    >>> clipped_by_value([np.array([3.0, -0.5])], 2.0)
    [array([ 2. , -0.5])]
    """
    _refuse_limit(limit)

    def clip(leaf: Any) -> Any:
        array = raw(leaf)
        if array.dtype.kind == "c":
            raise InputError("gradients: complex values have no order; use the norm")
        xp = device.namespace(array)
        bound = array.dtype.type(limit)
        new = xp.minimum(xp.maximum(array, -bound), bound)
        return Tensor(new) if isinstance(leaf, Tensor) else new

    return trees.tree_map(clip, gradients)


def _with_gradients(parameters: Any) -> list[Any]:
    return [leaf for leaf in read_parameters(parameters)[0] if isinstance(leaf, Tensor) and leaf.grad is not None]


def _refuse_limit(limit: float) -> None:
    if not limit > 0.0:
        raise InputError(f"limit={limit!r}: must be above 0")


def _recorded(leaves: list[Tensor], limit: float) -> Tensor:
    """Clip the gradients of parameters by operations, which a program can hold; return the norm before as a Tensor."""
    _refuse_limit(limit)
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    total = as_tensor(np.float64(0.0))
    for gradient in gradients:
        parts = (functions.real(gradient), functions.imag(gradient)) if is_complex(gradient.dtype) else (gradient,)
        for part in parts:
            total = total + functions.sum(functions.square(functions.astype(part, "float64")))
    norm = functions.sqrt(total)
    factor = functions.where(functions.logical_and(norm > limit, functions.isfinite(norm)), limit / norm, 1.0)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        leaf.grad = gradient * functions.astype(factor, real_dtype(gradient.dtype))
    return norm


def _scaled(leaves: list[Any], limit: float) -> tuple[list[Any], float]:
    _refuse_limit(limit)
    norm = math.sqrt(math.fsum(sums)) if all(map(math.isfinite, sums := native.squares([raw(leaf) for leaf in leaves]))) else math.nan
    if math.isnan(norm):
        norm = _careful_norm(leaves)
    if not math.isfinite(norm) or norm <= limit:
        return leaves, norm
    out = []
    arrays = [raw(leaf) for leaf in leaves]
    there = multitensor.scaled(arrays, limit / norm)
    for i, (leaf, array) in enumerate(zip(leaves, arrays, strict=True)):
        new = there[i] if i in there else (array * array.dtype.type(limit / norm)).astype(array.dtype, copy=False)
        out.append(Tensor(new) if isinstance(leaf, Tensor) else new)
    return out, norm


def _careful_norm(leaves: list[Any]) -> float:
    """Return the norm where a square overflowed or a value is not finite."""
    largest = max(float(abs(raw(leaf)).max()) for leaf in leaves if raw(leaf).size)
    if not math.isfinite(largest):
        return largest
    return largest * math.sqrt(math.fsum(native.squares([raw(leaf) / largest for leaf in leaves])))
