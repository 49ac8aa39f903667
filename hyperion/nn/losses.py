"""Losses: one number that says how far predictions are from targets.

`reduction` says what becomes of the losses of single elements: "mean", "sum", or "none" (they are returned as they are).
Classes are on the last axis; `hyperion.nn.functional` has PyTorch's order of arguments and axes.
"""

import math
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.batching import Batched
from hyperion.autograd.dtypes import is_floating
from hyperion.autograd.ops.lengths import row_norms
from hyperion.errors import DtypeError, InputError, ShapeError

__all__ = ["bce", "bce_with_logits", "cross_entropy", "huber", "kl", "l1", "mse", "nll", "relative_h1", "relative_l2"]


def reduced(losses: Tensor, reduction: str, name: str) -> Tensor:
    """Return the mean or the sum of losses, or these themselves.

    Raises: InputError for another reduction; ShapeError for the mean of nothing.

    >>> reduced(as_tensor([1.0, 3.0]), "mean", "mse")
    Tensor () float32, cpu: 2.
    """
    check_reduction(reduction, name)
    if reduction == "mean" and not losses.size:
        raise ShapeError(f"{name}: there are no elements (shape {losses.shape}), so there is no mean; give at least one")
    return losses if reduction == "none" else hp.sum(losses) if reduction == "sum" else hp.mean(losses)


def check_reduction(reduction: Any, name: str) -> None:
    """Refuse an unknown reduction.

    >>> check_reduction("sum", "mse")
    """
    if reduction not in ("mean", "sum", "none"):
        raise InputError(f'{name}: reduction={reduction!r} is unknown; use "mean", "sum" or "none"')


def _pair(prediction: Any, target: Any, name: str) -> tuple[Tensor, Tensor]:
    """Return both as Tensors; they must have one shape: broadcasting here is nearly always a mistake."""
    x, y = as_tensor(prediction), as_tensor(target)
    if x.shape != y.shape:
        raise ShapeError(f"{name}: prediction has shape {x.shape}, target {y.shape}; they must agree: use reshape or broadcast_to")
    return x, y


def mse(prediction: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Return the mean squared error, |prediction - target|^2.

    Raises: ShapeError unless both have one shape; InputError for an unknown reduction.

    >>> mse([1.0, 2.0], [1.0, 4.0])
    Tensor () float32, cpu: 2.
    """
    x, y = _pair(prediction, target, "mse")
    away = x - y
    return reduced(hp.square(away) if away.dtype.kind != "c" else hp.square(hp.abs(away)), reduction, "mse")


def l1(prediction: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Return the mean absolute error, |prediction - target|; its derivative at 0 is 0.

    Raises: as `mse`.

    >>> l1([1.0, 2.0], [1.0, 4.0])
    Tensor () float32, cpu: 1.
    """
    x, y = _pair(prediction, target, "l1")
    return reduced(hp.abs(x - y), reduction, "l1")


def huber(prediction: Any, target: Any, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """Return half the squared error where it is below delta, delta (|error| - delta / 2) beyond: outliers pull with a bounded force.

    Raises: as `mse`; InputError unless delta is above 0.
    Source: Huber 1964, Annals of Mathematical Statistics 35, 73.

    >>> huber([0.0, 0.0], [1.0, 3.0], reduction="none")
    Tensor (2,) float32, cpu: [0.5 2.5]
    """
    x, y = _pair(prediction, target, "huber")
    if isinstance(delta, bool) or not isinstance(delta, int | float) or not 0.0 < delta < math.inf:
        raise InputError(f"huber: delta={delta!r} must be a number above 0")
    size = hp.abs(x - y)
    return reduced(hp.where(size < delta, 0.5 * hp.square(x - y), delta * (size - 0.5 * delta)), reduction, "huber")


def _class_weights(weight: Any, count: int, name: str) -> Tensor:
    given = as_tensor(weight)
    if given.shape != (count,):
        raise ShapeError(f"{name}: weight has shape {given.shape}; it must be ({count},), one number for each class")
    return given


def _of_classes(losses: Tensor, weights: Tensor | None, kept: Tensor, reduction: str, name: str) -> Tensor:
    """Reduce losses of rows (0 where a row does not count); the mean is over the weights of those that count."""
    check_reduction(reduction, name)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return hp.sum(losses)
    if not losses.size:
        raise ShapeError(f"{name}: there are no rows (targets have shape {losses.shape}), so there is no mean; give at least one")
    count = hp.sum(kept.astype(losses.dtype) if weights is None else weights)
    return hp.where(count == 0.0, math.nan, hp.sum(losses) / hp.where(count == 0.0, 1.0, count))


def cross_entropy(
    scores: Any, targets: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:
    """Return the cross-entropy of targets against softmax(scores): -log of the probability that each row gives to its class.

    scores: logits, floating, (..., classes).
    targets: classes, integers of shape (...); or probabilities, floating, of the shape of scores.
    weight: (classes,), how much each class counts; the mean is over these weights.
    ignore_index: rows of this class do not count, neither in the mean. If none counts, the mean is NaN.
    label_smoothing: from 0 to 1, the share of each target that is spread evenly over all classes (Szegedy et al. 2016, arXiv:1512.00567).
    Raises: ShapeError if shapes do not fit; IndexingError for a class that does not exist; DtypeError for other dtypes; InputError.

    >>> cross_entropy([[0.0, 0.0], [5.0, 5.0]], [0, 1])
    Tensor () float32, cpu: 0.693147
    """
    x, y, name = as_tensor(scores), as_tensor(targets), "cross_entropy"
    if isinstance(label_smoothing, bool) or not isinstance(label_smoothing, int | float) or not 0.0 <= label_smoothing <= 1.0:
        raise InputError(f"{name}: label_smoothing={label_smoothing!r} must be a number from 0 to 1")
    if not x.ndim or not x.shape[-1]:
        raise ShapeError(f"{name}: scores have shape {x.shape}; they must be (..., classes), with one class or more")
    weights = None if weight is None else _class_weights(weight, x.shape[-1], name)
    if is_floating(y.dtype) and y.shape == x.shape:
        return _soft_cross_entropy(x, y, weights, reduction, label_smoothing)
    if y.shape != x.shape[:-1]:
        turned = x.ndim > 1 and y.shape == (x.shape[0], *x.shape[2:])
        way_out = "move the classes to the last axis, or use functional.cross_entropy" if turned else "give one class for each row"
        raise ShapeError(f"{name}: scores have shape {x.shape}, targets {y.shape}; with scores (..., classes) targets are (...): {way_out}")
    losses, total = hp.softmax_cross_entropy(x, y, ignore_index)
    kept = y != ignore_index
    of_rows = None
    if weights is not None:
        of_rows = hp.where(kept, hp.take(weights, hp.where(kept, y, 0), axis=0), 0.0)
        losses = losses * of_rows
    if label_smoothing:
        share = label_smoothing / x.shape[-1]
        spread = total * x.shape[-1] - hp.sum(x, -1) if weights is None else total * hp.sum(weights) - hp.vecdot(x, weights)
        losses = (1.0 - label_smoothing) * losses + share * hp.where(kept, spread, 0.0)
    return _of_classes(losses, of_rows, kept, reduction, name)


def _soft_cross_entropy(x: Tensor, y: Tensor, weights: Tensor | None, reduction: str, smoothing: float) -> Tensor:
    """Return the cross-entropy of probabilities: the mean is over rows."""
    portions = y * (1.0 - smoothing) + smoothing / x.shape[-1] if smoothing else y
    portions = portions if weights is None else portions * weights
    losses = hp.logsumexp(x, -1) * hp.sum(portions, -1) - hp.sum(portions * x, -1)
    return reduced(losses, reduction, "cross_entropy")


def nll(log_probabilities: Any, targets: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Return minus the logarithm of the probability of each target's class; with log_softmax before it, this is `cross_entropy`.

    log_probabilities: (..., classes).  Other arguments and errors as in `cross_entropy`.

    >>> nll([[-0.5, -1.0]], [1])
    Tensor () float32, cpu: 1.
    """
    x, y, name = as_tensor(log_probabilities), as_tensor(targets), "nll"
    if not x.ndim or y.shape != x.shape[:-1]:
        raise ShapeError(f"{name}: log_probabilities have shape {x.shape}, targets {y.shape}; with (..., classes) targets are (...)")
    if y.dtype.kind not in "iu":
        raise DtypeError(f"{name}: targets are {y.dtype}; they must be integers: use .astype('int64')")
    kept = y != ignore_index
    chosen = hp.where(kept, y, 0)
    picked = hp.take_along_axis(x, hp.expand_dims(chosen, -1), -1).reshape(y.shape)
    of_rows = None
    if weight is not None:
        of_rows = hp.where(kept, hp.take(_class_weights(weight, x.shape[-1], name), chosen, axis=0), 0.0)
        picked = picked * of_rows
    return _of_classes(hp.where(kept, -picked, 0.0), of_rows, kept, reduction, name)


def bce(probabilities: Any, targets: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """Return the cross-entropy of targets against probabilities, both from 0 to 1; logarithms below -100 count as -100, with
    derivative 0.

    weight: how much each element counts; broadcasts.
    Raises: ShapeError unless both have one shape; InputError for probabilities outside 0 to 1, or an unknown reduction.

    >>> bce([0.5, 1.0], [1.0, 1.0])
    Tensor () float32, cpu: 0.346574
    """
    p, y = _pair(probabilities, targets, "bce")
    outside = hp.any((p.detach() < 0.0) | (p.detach() > 1.0))
    if not isinstance(outside, Batched) and bool(outside):
        raise InputError("bce: some probabilities are below 0 or above 1; use sigmoid first, or bce_with_logits")
    losses = -(y * _bounded_log(p) + (1.0 - y) * _bounded_log(1.0 - p))
    return reduced(losses if weight is None else losses * weight, reduction, "bce")


def _bounded_log(p: Tensor) -> Tensor:
    """Return log(p), -100 at least."""
    some = p > 0.0
    return hp.maximum(hp.where(some, hp.log(hp.where(some, p, 1.0)), -100.0), -100.0)


def bce_with_logits(logits: Any, targets: Any, weight: Any = None, positive_weight: Any = None, reduction: str = "mean") -> Tensor:
    """Return the cross-entropy of targets, from 0 to 1, against sigmoid(logits), without overflow.

    weight: how much each element counts; positive_weight: how much more the part of targets that is 1 counts; both broadcast.
    Raises: ShapeError unless logits and targets have one shape; InputError for an unknown reduction.

    >>> bce_with_logits([0.0, 100.0], [1.0, 0.0], reduction="none")
    Tensor (2,) float32, cpu: [  0.693147 100.      ]
    """
    x, y = _pair(logits, targets, "bce_with_logits")
    if positive_weight is None:
        losses = hp.softplus(x) - x * y
    else:
        losses = y * positive_weight * hp.softplus(-x) + (1.0 - y) * hp.softplus(x)
    return reduced(losses if weight is None else losses * weight, reduction, "bce_with_logits")


def kl(log_prediction: Any, target: Any, log_target: bool = False, reduction: str = "batchmean") -> Tensor:
    """Return the divergence of Kullback and Leibler of predictions from targets, target (log(target) - log_prediction), 0 for target 0.

    log_prediction: logarithms of probabilities.  target: probabilities, or with log_target=True their logarithms.
    reduction: also "batchmean": the sum divided by the length of axis 0, which is the mean over distributions.
    Raises: ShapeError unless both have one shape; InputError for an unknown reduction.

    >>> kl([[-0.6931472, -0.6931472]], [[1.0, 0.0]])
    Tensor () float32, cpu: 0.693147
    """
    x, y = _pair(log_prediction, target, "kl")
    if log_target:
        losses = hp.exp(y) * (y - x)
    else:
        some = y > 0.0
        losses = y * (hp.where(some, hp.log(hp.where(some, y, 1.0)), 0.0) - x)
    if reduction != "batchmean":
        return reduced(losses, reduction, "kl")
    if not losses.ndim or not losses.shape[0]:
        raise ShapeError(f"kl: prediction has shape {x.shape}; batchmean divides by the length of axis 0, which must not be empty")
    return hp.sum(losses) / losses.shape[0]


def _norm(x: Tensor) -> Tensor:
    """Return the norm of each example; its derivative at 0 is taken as 0."""
    return row_norms(hp.abs(x) if x.dtype.kind == "c" else x)


def _relative(away: Tensor, size: Tensor, reduction: str, name: str) -> Tensor:
    return reduced(away / hp.maximum(size, 1e-12), reduction, name)


def relative_l2(prediction: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Return ||prediction - target|| / ||target|| for each example, over all axes but the first; then the mean over examples.

    Norms of targets below 1e-12 count as 1e-12.
    Raises: ShapeError unless both have one shape with two axes or more; InputError for an unknown reduction.
    Source: Li et al. 2021, "Fourier neural operator for parametric partial differential equations", arXiv:2010.08895, section 5.

    >>> relative_l2([[3.0, 5.0]], [[3.0, 4.0]])
    Tensor () float32, cpu: 0.2
    """
    x, y = _pair(prediction, target, "relative_l2")
    if x.ndim < 2:
        raise ShapeError(f"relative_l2: prediction has shape {x.shape}; it must be (examples, ...), with something to take the norm of")
    return _relative(_norm(x - y), _norm(y), reduction, "relative_l2")


def relative_h1(
    prediction: Any, target: Any, spacing: Any = 1.0, periodic: bool = False, reduction: str = "mean",
) -> Tensor:
    """Return ||prediction - target|| / ||target|| in H1, sqrt(|u|^2 + |grad u|^2), for each example; then the mean over examples.

    prediction, target: (examples, channels, *space).
    spacing: distance of neighbours along the axes of space [any unit of length], a number or one per axis.
    periodic: whether the last sample is beside the first one; otherwise slopes at the ends are one-sided, of first order.
    Slopes are central differences. Norms of targets below 1e-12 count as 1e-12.
    Raises: ShapeError unless both have one shape with an axis of space, each with two samples or more; InputError for the spacing.
    Source: Czarnecki et al. 2017, "Sobolev training for neural networks", arXiv:1706.04859.

    >>> relative_h1([[[0.0, 2.0]]], [[[0.0, 1.0]]])
    Tensor () float32, cpu: 1.
    """
    x, y = _pair(prediction, target, "relative_h1")
    rank = x.ndim - 2
    if rank < 1 or min(x.shape[2:]) < 2:
        raise ShapeError(f"relative_h1: prediction has shape {x.shape}; it must be (examples, channels, *space), two samples or more")
    steps = tuple(spacing) if isinstance(spacing, tuple | list) else (spacing,) * rank
    if len(steps) != rank or not all(isinstance(h, int | float) and 0.0 < h < math.inf for h in steps):
        raise InputError(f"relative_h1: spacing={spacing!r} must be a number above 0, or one for each of the {rank} axes of space")

    def size(u: Tensor) -> Tensor:
        parts = [u]
        for i, h in enumerate(steps):
            if periodic:
                parts.append((hp.roll(u, -1, axis=2 + i) - hp.roll(u, 1, axis=2 + i)) / (2.0 * h))
            else:
                parts.append(hp.gradient(u, h, axis=2 + i))
        return _norm(hp.stack(parts, axis=1))

    return _relative(size(x - y), size(y), reduction, "relative_h1")
