"""Euclidean norms of the examples of a batch, as losses of functions need them."""

import math
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import is_half
from hyperion.autograd.ops.comparison import where
from hyperion.autograd.ops.reductions import sum
from hyperion.autograd.ops.shaping import reshape
from hyperion.autograd.table import Primitive, general
from hyperion.autograd.tensor import Tensor
from hyperion.gpu import maps
from hyperion.gpu.launching import on_gpu

__all__ = ["row_norms"]


def _forward(xp: Any, x: Any) -> Any:
    rows = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    found = maps.row_norms(rows)
    if found is not None:
        return found
    rows = rows.astype(np.float32) if is_half(x.dtype) else rows
    return xp.sqrt((rows * rows).sum(axis=1)).astype(x.dtype, copy=False)


def _columns(x: Tensor, like: Tensor) -> Tensor:
    return reshape(x, (-1, *(1,) * (like.ndim - 1)))


def _divided(x: Tensor, norms: Tensor) -> Tensor:
    """Return x / norms, 0 where the norm is 0."""
    zero = norms == 0.0
    return where(zero, 0.0, x / where(zero, 1.0, norms))


def _vjp(g: Tensor, out: Tensor, x: Tensor) -> tuple[Tensor]:
    return (_columns(_divided(g, out), x) * x,)


def _jvp(tangents: list[Tensor], out: Tensor, x: Tensor) -> Tensor:
    return _divided(sum(tangents[0] * x, tuple(range(1, x.ndim))), out)


def _pull(g: Any, out: Any, inputs: tuple[Tensor], params: dict[str, Any]) -> list[Any] | None:
    x = inputs[0].data
    if on_gpu(g):
        found = maps.scaled_rows(x.reshape(x.shape[0], -1), g, out)
        return None if found is None else [found.reshape(x.shape)]
    with np.errstate(all="ignore"):
        factor = np.where(out == 0, 0, g / out).astype(x.dtype)
    return [factor.reshape(-1, *(1,) * (x.ndim - 1)) * x]


def _batched(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    """The examples' rows are more rows."""
    x = inputs[0]
    return reshape(op(reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))), x.shape[:2])


row_norms = general(
    "row_norms", _forward, _vjp, _jvp, floating=True, pull=_pull, batch=_batched,
    doc="Return the norm of each example of real x, over all axes but the first. Where it is 0 its derivative is taken as 0.",
)
row_norms.everywhere = True
