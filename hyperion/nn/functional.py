"""The layers and losses as functions, with PyTorch's names and order of arguments: `import hyperion.nn.functional as F`.

What Hyperion has under the same name and in the same order is here as it is; where an argument is called or placed otherwise (dim, classes
on axis 1, running statistics), the functions below translate. Arguments that PyTorch has behind deprecated ones go by keyword only.
"""

import math
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import (
    Tensor,
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    as_tensor,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    celu,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    elu,
    grid_sample,
    group_norm,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    local_response_norm,
    logsigmoid,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    mish,
    pairwise_distance,
    pixel_shuffle,
    pixel_unshuffle,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
)
from hyperion.autograd.masks import Causal, Mask
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.nn import losses
from hyperion.nn.arguments import as_fraction
from hyperion.nn.dropout import drop
from hyperion.nn.initializers import default_generator
from hyperion.nn.linear import lookup
from hyperion.nn.normalization import by_own_statistics, follow

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_norm", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "celu", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "cosine_similarity", "cross_entropy", "dropout", "elu", "embedding", "fold", "gelu", "glu", "grid_sample", "group_norm", "hardshrink",
    "hardsigmoid", "hardswish", "hardtanh", "huber_loss", "instance_norm", "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu",
    "linear", "local_response_norm", "log_softmax", "logsigmoid", "lp_pool1d", "lp_pool2d", "lp_pool3d", "max_pool1d", "max_pool2d",
    "max_pool3d", "mish", "mse_loss", "nll_loss", "normalize", "one_hot", "pad", "pairwise_distance", "pixel_shuffle", "pixel_unshuffle",
    "prelu", "relu", "relu6", "rms_norm", "scaled_dot_product_attention", "selu", "sigmoid", "silu", "smooth_l1_loss", "softmax", "softmin",
    "softplus", "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "unfold",
]


# Layers

def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """Return input @ weight.T + bias.  weight: (outputs, inputs).

    >>> linear([1.0, 2.0], [[1.0, 1.0]])
    Tensor (1,) float32, cpu: [3.]
    """
    return hp.affine(input, weight, bias)


def embedding(input: Any, weight: Any, padding_idx: int | None = None) -> Tensor:
    """Return rows of weight at integers; those of padding_idx get no gradient.

    >>> embedding([1], [[1.0], [2.0]])[0]
    Tensor (1,) float32, cpu: [2.]
    """
    table = as_tensor(weight)
    if padding_idx is not None and not -table.shape[0] <= padding_idx < table.shape[0]:
        raise InputError(f"embedding(padding_idx): {padding_idx} is outside the {table.shape[0]} rows of weight")
    return lookup(input, table, None if padding_idx is None else padding_idx % table.shape[0], "embedding")


def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """Return int64 ones at each index along a new last axis; num_classes -1: the largest index plus one.

    >>> one_hot([1, 0]).numpy().tolist()
    [[0, 1], [1, 0]]
    """
    given = as_tensor(tensor)
    if num_classes == -1 and not given.size:
        raise InputError("one_hot(tensor): it is empty, so it does not say how many classes there are; give num_classes=")
    return hp.one_hot(given, int(given.data.max()) + 1 if num_classes == -1 else num_classes, dtype="int64")


def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Return the windows of input as columns; see `hyperion.unfold`.

    >>> unfold(hp.ones((1, 3, 5, 5)), 2).shape
    (1, 12, 16)
    """
    return hp.unfold(input, kernel_size, stride, padding, dilation)


def fold(input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Return the sum of windows given as columns; see `hyperion.fold`.

    >>> fold(hp.ones((1, 12, 16)), (5, 5), 2).shape
    (1, 3, 5, 5)
    """
    return hp.fold(input, output_size, kernel_size, stride, padding, dilation)


def pad(input: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """Return input with cells around its last axes.

    pad: numbers of cells (before, after) of the last axis, then of the one before it, and so on.
    mode: "constant", "reflect", "replicate" or "circular".

    >>> pad([[1.0, 2.0]], (1, 0))[0]
    Tensor (3,) float32, cpu: [0. 1. 2.]
    """
    x, cells = as_tensor(input), list(pad)
    if len(cells) % 2 or len(cells) > 2 * x.ndim:
        raise ShapeError(f"pad: pad={tuple(pad)} has {len(cells)} numbers; give a pair for each axis, from the last, of input {x.shape}")
    pairs = [(cells[i], cells[i + 1]) for i in range(0, len(cells), 2)][::-1]
    return hp.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs, mode, 0 if value is None else value)


def interpolate(input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None) -> Tensor:
    """Return input resized along its axes of space; see `hyperion.interpolate`.

    >>> interpolate(hp.ones((1, 1, 4)), 8).shape
    (1, 1, 8)
    """
    return hp.interpolate(input, size, scale_factor, mode, bool(align_corners))


# Normalisation

def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Return input with mean 0 and variance 1 over its last axes, times weight, plus bias.

    >>> layer_norm([[1.0, 3.0]], (2,), eps=0.0)[0]
    Tensor (2,) float32, cpu: [-1.  1.]
    """
    x, axes = _last(input, normalized_shape, "layer_norm")
    return hp.layer_norm(x, weight, bias, axes, eps)


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Tensor:
    """Return input divided by the root of its mean square over its last axes, times weight; eps None: that of the dtype.

    >>> rms_norm([[3.0, 3.0]], (2,), eps=0.0)[0]
    Tensor (2,) float32, cpu: [1. 1.]
    """
    x, axes = _last(input, normalized_shape, "rms_norm")
    return hp.rms_norm(x, weight, axes, hp.finfo(x.dtype).eps if eps is None else eps)


def _last(input: Any, normalized_shape: Any, name: str) -> tuple[Tensor, tuple[int, ...]]:
    x, shape = as_tensor(input), tuple(normalized_shape)
    if not shape or x.shape[-len(shape):] != shape:
        raise ShapeError(f"{name}: input has shape {x.shape}, which does not end in normalized_shape={shape}")
    return x, tuple(range(x.ndim - len(shape), x.ndim))


def batch_norm(
    input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False, momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return input with mean 0 and variance 1 for each channel, times weight, plus bias; see `hyperion.batch_norm`.

    training: by the statistics of input itself; then the Tensors running_mean and running_var take up their share of them (momentum),
    unless they are None. Otherwise by the running statistics.

    >>> batch_norm([[1.0], [3.0]], None, None, training=True, eps=0.0)[:, 0]
    Tensor (2,) float32, cpu: [-1.  1.]
    """
    if training:
        return _by_own(input, 0, running_mean, running_var, weight, bias, momentum, eps, "batch_norm")
    if running_mean is None or running_var is None:
        raise InputError("batch_norm: running_mean and running_var are needed unless training=True")
    mean, variance = (as_tensor(x).detach() for x in (running_mean, running_var))
    return hp.batch_norm(input, mean, variance, weight, bias, eps)


def instance_norm(
    input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None, use_input_stats: bool = True,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:
    """Return input with mean 0 and variance 1 over the space of each channel of each example; arguments as in `batch_norm`.

    use_input_stats: by the statistics of input itself, otherwise by the running statistics.

    >>> instance_norm([[[1.0, 3.0]]], eps=0.0)[0, 0]
    Tensor (2,) float32, cpu: [-1.  1.]
    """
    if use_input_stats:
        return _by_own(input, 1, running_mean, running_var, weight, bias, momentum, eps, "instance_norm")
    return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)


def _by_own(
    input: Any, lead: int, running_mean: Any, running_var: Any, weight: Any, bias: Any, momentum: float, eps: float, name: str,
) -> Tensor:
    """Normalise by statistics over axis 0 (or not: lead 1) and space, and let the running ones follow."""
    x = as_tensor(input)
    if x.ndim < 2 + lead:
        raise ShapeError(f"{name}: input has shape {x.shape}; it must be (batch, channels, *space)")
    axes = tuple(i for i in range(lead, x.ndim) if i != 1)
    out, mean, rstd = by_own_statistics(x, axes, 1, eps, weight, bias, name)
    if running_mean is not None and running_var is not None:
        follow((running_mean, running_var), mean, rstd, eps, x.size // max(mean.size, 1), momentum, name)
    return out


def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """Return input divided by its p-norm along axes, eps at least.

    >>> normalize([[3.0, 4.0]])[0]
    Tensor (2,) float32, cpu: [0.6 0.8]
    """
    return hp.normalize(input, p, dim, eps)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Return the cosine of the angle between x1 and x2 along an axis.

    >>> cosine_similarity([[1.0, 0.0]], [[3.0, 4.0]])
    Tensor (1,) float32, cpu: [0.6]
    """
    return hp.cosine_similarity(x1, x2, dim, eps)


def dropout(input: Any, p: float = 0.5, training: bool = True, *, generator: Generator | None = None) -> Tensor:
    """Return input with numbers set to zero with probability p, and the others divided by 1 - p; input itself unless training.

    >>> dropout([1.0, 2.0], training=False)
    Tensor (2,) float32, cpu: [1. 2.]
    """
    probability = as_fraction(p, "dropout(p)")
    return drop(input, probability, generator, "dropout") if training else as_tensor(input)


# Activations

def gelu(input: Any, *, approximate: str = "none") -> Tensor:
    """Return input times the probability that a standard normal number is below it; approximate="tanh": as GPT-2 has it.

    >>> gelu([0.0, 2.0])
    Tensor (2,) float32, cpu: [0.     1.9545]
    """
    if approximate not in ("none", "tanh"):
        raise InputError(f'gelu: approximate={approximate!r} is unknown; use "none" or "tanh"')
    return hp.gelu(input, approximate == "tanh")


def glu(input: Any, dim: int = -1) -> Tensor:
    """Return the first half along an axis times the sigmoid of the second.

    >>> glu([3.0, 0.0])
    Tensor (1,) float32, cpu: [1.5]
    """
    return hp.glu(input, dim)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + exp(beta x)) / beta, exact for every x; `threshold` is not needed for that, and ignored.

    >>> softplus([0.0])
    Tensor (1,) float32, cpu: [0.693147]
    """
    return hp.softplus(input, beta)


def softmax(input: Any, dim: Any = -1, *, dtype: Any = None) -> Tensor:
    """Return exp(x) / sum(exp(x)) along an axis; dtype: in which it is computed.

    >>> softmax([0.0, 0.0])
    Tensor (2,) float32, cpu: [0.5 0.5]
    """
    return hp.softmax(input if dtype is None else as_tensor(input).astype(dtype), dim)


def softmin(input: Any, dim: Any = -1, *, dtype: Any = None) -> Tensor:
    """Return softmax(-input).

    >>> softmin([0.0, 0.0])
    Tensor (2,) float32, cpu: [0.5 0.5]
    """
    return softmax(-as_tensor(input), dim, dtype=dtype)


def log_softmax(input: Any, dim: Any = -1, *, dtype: Any = None) -> Tensor:
    """Return the logarithm of softmax, exact where that rounds to 0.

    >>> log_softmax([0.0, 1000.0])
    Tensor (2,) float32, cpu: [-1000.     0.]
    """
    return hp.log_softmax(input if dtype is None else as_tensor(input).astype(dtype), dim)


# Losses

def _classes_last(input: Any) -> Tensor:
    """Return scores (batch, classes, *rest) or (classes,) with the classes last."""
    x = as_tensor(input)
    return hp.moveaxis(x, 1, -1) if x.ndim > 2 else x


def cross_entropy(
    input: Any, target: Any, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:
    """Return the cross-entropy of targets against softmax(input); see `hyperion.nn.cross_entropy`, which has the classes last.

    input: (batch, classes, *rest) or (classes,).  target: classes, (batch, *rest); or probabilities of the shape of input.

    >>> cross_entropy([[0.0, 0.0]], [0])
    Tensor () float32, cpu: 0.693147
    """
    x, y = as_tensor(input), as_tensor(target)
    if y.shape == x.shape and y.dtype.kind not in "iu":
        losses.check_reduction(reduction, "cross_entropy")
        out = losses.cross_entropy(_classes_last(x), _classes_last(y), weight, ignore_index, "sum" if reduction == "mean" else reduction,
                                   label_smoothing)
        return out / max(math.prod(x.shape) // x.shape[1 if x.ndim > 1 else 0], 1) if reduction == "mean" else out
    if x.ndim > 1 and y.shape != (x.shape[0], *x.shape[2:]):
        raise ShapeError(f"cross_entropy: input has shape {x.shape}, target {y.shape}; for (batch, classes, *rest) it is (batch, *rest)")
    return losses.cross_entropy(_classes_last(x), y, weight, ignore_index, reduction, label_smoothing)


def nll_loss(input: Any, target: Any, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Return minus the log-probability of each target's class; input: (batch, classes, *rest) or (classes,).

    >>> nll_loss([[-0.5, -1.0]], [1])
    Tensor () float32, cpu: 1.
    """
    return losses.nll(_classes_last(input), target, weight, ignore_index, reduction)


def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """Return the mean squared error.

    >>> mse_loss([1.0], [3.0])
    Tensor () float32, cpu: 4.
    """
    return losses.mse(input, target, reduction)


def l1_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """Return the mean absolute error.

    >>> l1_loss([1.0], [3.0])
    Tensor () float32, cpu: 2.
    """
    return losses.l1(input, target, reduction)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Return half the squared error below delta, delta (|error| - delta / 2) beyond.

    >>> huber_loss([1.0], [3.0])
    Tensor () float32, cpu: 1.5
    """
    return losses.huber(input, target, delta, reduction)


def smooth_l1_loss(input: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Return the Huber loss divided by beta; beta 0: the absolute error.

    >>> smooth_l1_loss([1.0], [3.0], beta=2.0)
    Tensor () float32, cpu: 1.
    """
    return losses.l1(input, target, reduction) if beta == 0.0 else losses.huber(input, target, beta, reduction) * (1.0 / beta)


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, *, reduction: str = "mean") -> Tensor:
    """Return the cross-entropy of targets against probabilities.

    >>> binary_cross_entropy([0.5], [1.0])
    Tensor () float32, cpu: 0.693147
    """
    return losses.bce(input, target, weight, reduction)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None,
) -> Tensor:
    """Return the cross-entropy of targets against sigmoid(input).

    >>> binary_cross_entropy_with_logits([0.0], [1.0])
    Tensor () float32, cpu: 0.693147
    """
    return losses.bce_with_logits(input, target, weight, pos_weight, reduction)


def kl_div(input: Any, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """Return the divergence of predictions, given by their logarithms, from targets; reduction "batchmean" is its mean over the batch.

    >>> kl_div([[-0.6931472, -0.6931472]], [[1.0, 0.0]], reduction="sum")
    Tensor () float32, cpu: 0.693147
    """
    return losses.kl(input, target, log_target, reduction)


# Attention

def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
    enable_gqa: bool = False, generator: Generator | None = None,
) -> Tensor:
    """Return softmax(scale query key^T + bias) value; see `hyperion.attention`.

    attn_mask: bools (True: seen), a mask such as nn.Causal(), or numbers that are added to the scores.
    is_causal: query i sees keys 0 to i.  enable_gqa: whether key and value may have fewer heads.
    Unlike PyTorch's, rows that see nothing give zeros, and attn_mask with is_causal is refused: use nn.Causal() & mask.

    >>> scaled_dot_product_attention(hp.ones((1, 2, 3, 4)), hp.ones((1, 2, 5, 4)), hp.ones((1, 2, 5, 6))).shape
    (1, 2, 3, 6)
    """
    name = "scaled_dot_product_attention"
    q, k = as_tensor(query), as_tensor(key)
    if not enable_gqa and q.ndim > 2 and k.ndim > 2 and q.shape[-3] != k.shape[-3]:
        raise ShapeError(f"{name}: query has {q.shape[-3]} heads, key {k.shape[-3]}; they must agree, or give enable_gqa=True")
    if is_causal and attn_mask is not None:
        raise InputError(f"{name}: attn_mask with is_causal=True; give one of them: attn_mask=nn.Causal(offset=0) & mask is both")
    added = attn_mask is not None and not isinstance(attn_mask, Mask) and as_tensor(attn_mask).dtype.kind != "b"
    rate = as_fraction(dropout_p, f"{name}(dropout_p)")
    return hp.attention(
        q, k, value, mask=Causal(offset=0) if is_causal else None if added else attn_mask, scale=scale,
        dropout=(rate, default_generator(generator)) if rate else None, bias=attn_mask if added else None,
    )
