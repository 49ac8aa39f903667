"""The cross-entropy of classes against scores: one operation, so that no array of probabilities is kept.

Its second output is the logarithm of the sum of exponentials of every row, from which its rules form the probabilities again.
"""

from typing import Any

import numpy as np

from hyperion.autograd.batching import by_axes
from hyperion.autograd.dtypes import is_half
from hyperion.autograd.ops.arithmetic import exp
from hyperion.autograd.ops.comparison import equal, where
from hyperion.autograd.ops.gathering import take_along_axis
from hyperion.autograd.ops.reductions import ordered, sum
from hyperion.autograd.ops.rowwise import rows_of
from hyperion.autograd.ops.shaping import astype, reshape
from hyperion.autograd.table import general
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, IndexingError, InputError, ShapeError

__all__ = ["softmax_cross_entropy"]


def _wide(x: Any) -> Any:
    return x.astype(np.float32) if is_half(x.dtype) else x


def _chosen(xp: Any, classes: Any, count: int, ignore: int) -> tuple[Any, Any]:
    """Return which rows count, and their classes (0 for the others); refuse classes that do not exist."""
    kept = classes != ignore
    chosen = xp.where(kept, classes, 0)
    if chosen.size and (int(chosen.min()) < 0 or int(chosen.max()) >= count):
        worst = int(chosen.min()) if int(chosen.min()) < 0 else int(chosen.max())
        raise IndexingError(f"softmax_cross_entropy: class {worst} is outside the {count} scores of a row; use 0 to {count - 1}, or "
                            f"ignore={ignore} for rows that do not count")
    return kept, chosen


def _forward(xp: Any, x: Any, classes: Any, ignore: int) -> Any:
    kept, chosen = _chosen(xp, classes, x.shape[-1], ignore)
    if (found := rows_of(x).cross_entropy(x, classes, ignore)) is not None:
        return found
    wide = _wide(x)
    top = wide.max(axis=-1, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0)
    total = xp.log(xp.exp(wide - top).sum(axis=-1)) + top[..., 0]
    picked = xp.take_along_axis(wide, chosen[..., None], axis=-1)[..., 0]
    return xp.where(kept, total - picked, 0).astype(wide.dtype, copy=False), total


def _less_forward(xp: Any, x: Any, total: Any, classes: Any, ignore: int) -> Any:
    out = xp.ascontiguousarray(_wide(x) - total[..., None])     # so that the rows below are a view
    xp.exp(out, out=out)
    kept, chosen = _chosen(xp, classes, x.shape[-1], ignore)
    flat, rows = out.reshape(-1, x.shape[-1]), xp.arange(kept.size)
    flat[rows, chosen.reshape(-1)] -= kept.reshape(-1).astype(out.dtype)
    return out.astype(x.dtype, copy=False)


def _column(x: Tensor) -> Tensor:
    return reshape(x, (*x.shape, 1))


def _portions(x: Tensor, total: Tensor) -> Tensor:
    """Return the softmax of x."""
    return exp(x - _column(total))


def _less_vjp(g: Tensor, out: Tensor, x: Tensor, total: Tensor, classes: Tensor, ignore: int) -> tuple[Tensor | None, ...]:
    back = g * _portions(x, total)
    return astype(back, x.dtype), astype(-sum(back, -1), total.dtype) if total.tracked else None, None


def _less_jvp(tangents: list[Tensor | None], out: Tensor, x: Tensor, total: Tensor, classes: Tensor, ignore: int) -> Tensor:
    moved: Any = 0.0 if tangents[0] is None else tangents[0]
    moved = moved if tangents[1] is None else moved - _column(tangents[1])
    return astype(moved * _portions(x, total), out.dtype)


def _vjp(g: Any, out: tuple[Tensor, Tensor], x: Tensor, classes: Tensor, ignore: int) -> tuple[Tensor | None, None]:
    back: Tensor | None = None
    if g[0] is not None:
        kept = where(equal(classes, ignore), 0.0, g[0])
        back = _column(kept) * _less(x, out[1], classes, ignore=ignore)
    if g[1] is not None:
        term = _column(g[1]) * _portions(x, out[1])
        back = term if back is None else back + term
    return None if back is None else astype(back, x.dtype), None


def _pull(g: list[Any], out: tuple[Any, Any], inputs: tuple[Tensor, Tensor], params: dict[str, Any]) -> tuple[Any, None] | None:
    x, classes = inputs
    found = rows_of(x.data).cross_entropy_back(g[0], g[1], x.data, out[1], classes.data, params["ignore"])
    return None if found is None else (found, None)


def _jvp(tangents: list[Tensor], out: tuple[Tensor, Tensor], x: Tensor, classes: Tensor, ignore: int) -> tuple[Tensor, Tensor]:
    moved = tangents[0]
    gone = equal(classes, ignore)
    of_total = astype(sum(moved * _portions(x, out[1]), -1), out[1].dtype)
    picked = take_along_axis(moved, _column(where(gone, 0, classes)), -1)
    return where(gone, 0.0, of_total - reshape(picked, of_total.shape)), of_total


_less = general(
    "softmax_less_class", _less_forward, _less_vjp, _less_jvp, batch=by_axes(),
    doc="Return exp(x - total), less 1 at the class of each row that counts: the derivative of the cross-entropy.",
)
_entropy = general(
    "softmax_cross_entropy", _forward, _vjp, _jvp, outputs=2, batch=by_axes(), pull=_pull,
    doc="Return total - x[class] for each row, and total = log(sum(exp(x))); 0 where the class is `ignore`.",
)


def softmax_cross_entropy(x: Any, classes: Any, ignore: int = -100) -> tuple[Tensor, Tensor]:
    """Return -log(softmax(x)) at the class of each row, and logsumexp(x): without overflow, and exact where the softmax rounds to 0.

    x: scores (logits), floating, (..., classes).  classes: integers, the shape of x without its last axis.
    ignore: a class that means: this row does not count; its result and its derivative are 0.
    Returns: two Tensors of the shape of `classes`; float32 for scores of half precision.
    Raises: ShapeError if the shapes do not fit or there are no classes; IndexingError for a class that does not exist; DtypeError unless
        x is floating and `classes` are integers.

    >>> softmax_cross_entropy([[0.0, 0.0], [0.0, 100.0]], [0, 0])[0]
    Tensor (2,) float32, cpu: [  0.693147 100.      ]
    """
    x, given, name = ordered(x, "softmax_cross_entropy"), as_tensor(classes), "softmax_cross_entropy"
    if x.dtype.kind in "biu":
        raise DtypeError(f"{name}: x is {x.dtype}; scores must be floating: use .astype('float32')")
    if given.dtype.kind not in "iu":
        raise DtypeError(f"{name}: classes are {given.dtype}; they must be integers: use .astype('int64')")
    if type(ignore) is not int or not -1 << 63 <= ignore < 1 << 63:
        raise InputError(f"{name}: ignore={ignore!r} must be an integer of 64 bits")
    if not x.ndim or not x.shape[-1] or given.shape != x.shape[:-1]:
        raise ShapeError(f"{name}: x has shape {x.shape}, classes {given.shape}; x must be (..., classes), with one class for each row")
    return _entropy(x, astype(given, np.int64), ignore=ignore)
