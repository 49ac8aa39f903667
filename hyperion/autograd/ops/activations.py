"""Activation functions of networks, one number at a time. At kinks the derivative is PyTorch's."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import is_complex
from hyperion.autograd.ops.arithmetic import abs, as_number, divide, reciprocal, square, tanh
from hyperion.autograd.ops.comparison import where
from hyperion.autograd.ops.complexes import real_only
from hyperion.autograd.ops.shaping import astype, normalize_axis
from hyperion.autograd.ops.special import ndtr, normal_density
from hyperion.autograd.table import Rule, elementwise
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.cpu import rows
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import maps

__all__ = [
    "celu", "elu", "expit", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish",
    "prelu", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softshrink", "softsign", "tanhshrink", "threshold",
]


def _native(name: str, forward: Rule) -> Callable[..., Any]:
    """Return a forward that takes the native kernel of that name where there is one for x."""

    operation: Any = forward

    @functools.wraps(operation)
    def either(xp: Any, x: Any) -> Any:
        found = rows.apply(name, x) if xp is np else None
        return operation(xp, x) if found is None else found

    return either


def _pulled(name: str) -> Callable[..., Any]:
    """Return the vjp on arrays by the native kernel of that name."""

    def pull(g: Any, out: Any, inputs: tuple[Tensor], params: dict[str, Any]) -> list[Any] | None:
        x = inputs[0].data
        found = rows.apply_back(name, g, x) if type(x) is np.ndarray else maps.apply_back(name, g, x)
        return None if found is None else [found]

    return pull


def _sigmoid(xp: Any, x: Any) -> Any:
    """1 / (1 + exp(-x)) where x >= 0, exp(x) / (1 + exp(x)) elsewhere: no exponential overflows."""
    if hasattr(x, "dtype") and is_complex(x.dtype):
        left = xp.real(x) < 0
        small = xp.exp(xp.where(left, x, -x))
        return xp.where(left, small, 1.0) / (small + 1.0)
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1.0, small) / (small + 1.0)


def _softplus(xp: Any, x: Any) -> Any:
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


def _step(chosen: Tensor, yes: float, no: float, like: Tensor) -> Tensor:
    """Return numbers by a condition, in the dtype of a Tensor."""
    return where(chosen, yes, astype(chosen, like.dtype) * 0.0 + no)


sigmoid = elementwise(
    "sigmoid", _sigmoid, lambda out, x: out * (1.0 - out), floating=True, doc="Return 1 / (1 + exp(-x)) for each element, without overflow."
)
expit = sigmoid         # by SciPy's name
_log_sum = elementwise("softplus", real_only(_softplus), lambda out, x: sigmoid(x), floating=True)
logsigmoid = elementwise(
    "logsigmoid", real_only(lambda xp, x: -_softplus(xp, -x)), lambda out, x: sigmoid(-x), floating=True,
    doc="Return log(sigmoid(x)) for each element, exact where sigmoid(x) underflows.",
)
silu = elementwise(
    "silu", _native("silu", lambda xp, x: x * _sigmoid(xp, x)), lambda out, x: _slope_of_silu(out, sigmoid(x)), floating=True,
    pull=_pulled("silu"),
    doc="Return x sigmoid(x) for each element (swish). Source: Elfwing, Uchibe and Doya 2018, arXiv:1702.03118.",
)
relu = elementwise(
    "relu", real_only(lambda xp, x: xp.maximum(x, 0)), lambda out, x: x > 0, doc="Return max(x, 0); the derivative at 0 is 0."
)
softsign = elementwise(
    "softsign", real_only(lambda xp, x: x / (xp.abs(x) + 1.0)), lambda out, x: reciprocal(square(1.0 + abs(x))), floating=True,
    doc="Return x / (1 + |x|) for each element.",
)
tanhshrink = elementwise(
    "tanhshrink", lambda xp, x: x - xp.tanh(x), lambda out, x: square(x - out), floating=True, doc="Return x - tanh(x) for each element."
)
mish = elementwise(
    "mish", real_only(lambda xp, x: x * xp.tanh(_softplus(xp, x))), lambda out, x: _slope_of_mish(x, tanh(_log_sum(x))), floating=True,
    doc="Return x tanh(softplus(x)) for each element. Source: Misra 2019, arXiv:1908.08681.",
)
prelu = elementwise(
    "prelu", real_only(lambda xp, x, weight: xp.where(x > 0, x, x * weight)), lambda out, x, weight: where(x > 0, 1.0, weight),
    lambda out, x, weight: where(x > 0, 0.0, x), floating=True,
    doc="Return x where it is positive, weight x elsewhere; the weight broadcasts. Source: He et al. 2015, arXiv:1502.01852.",
)
_between = elementwise(
    "hardtanh", real_only(lambda xp, x, lower, upper: xp.minimum(xp.maximum(x, lower), upper)),
    lambda out, x, lower, upper: (x > lower) & (x < upper),
    floating=True,
)
_hardsigmoid = elementwise(
    "hardsigmoid", real_only(lambda xp, x: xp.minimum(xp.maximum(x + 3.0, 0.0), 6.0) / 6.0),
    lambda out, x: _step((x > -3.0) & (x < 3.0), 1.0 / 6.0, 0.0, x), floating=True,
)
_hardswish = elementwise(
    "hardswish", real_only(lambda xp, x: x * xp.minimum(xp.maximum(x + 3.0, 0.0), 6.0) / 6.0),
    lambda out, x: where(x < -3.0, 0.0, where(x <= 3.0, x * (1.0 / 3.0) + 0.5, 1.0)), floating=True,
)
_leaky = elementwise(
    "leaky_relu", real_only(lambda xp, x, slope: xp.where(x > 0, x, x * slope)),
    lambda out, x, slope: _step(x > 0, 1.0, slope, out), floating=True
)
_elu = elementwise(
    "elu", real_only(lambda xp, x, alpha: xp.where(x > 0, x, xp.expm1(xp.minimum(x, 0.0)) * alpha)),
    lambda out, x, alpha: where(x > 0, 1.0, out + alpha), floating=True,
)
_hardshrink = elementwise(
    "hardshrink", real_only(lambda xp, x, width: xp.where(xp.abs(x) <= width, 0.0, x)),
    lambda out, x, width: abs(x) > width, floating=True
)
_softshrink = elementwise(
    "softshrink", real_only(lambda xp, x, width: x - xp.minimum(xp.maximum(x, -width), width)),
    lambda out, x, width: abs(x) > width, floating=True
)
_threshold = elementwise(
    "threshold", real_only(lambda xp, x, limit, value: xp.where(x <= limit, value, x)),
    lambda out, x, limit, value: x > limit, floating=True
)
_gelu = elementwise(
    "gelu", _native("gelu", lambda xp, x: _gelu_exact(xp, x)), lambda out, x: ndtr(x) + x * normal_density(x), floating=True,
    pull=_pulled("gelu"),
)
_gelu_tanh = elementwise(
    "gelu_tanh", _native("gelu_tanh", real_only(lambda xp, x: (xp.tanh(_gelu_argument(x)) + 1.0) * x * 0.5)),
    lambda out, x: _slope_of_gelu(x, tanh(_gelu_argument(x))),
    floating=True, pull=_pulled("gelu_tanh"),
)


def _slope_of_silu(out: Tensor, portion: Tensor) -> Tensor:
    return portion + out * (1.0 - portion)


def _slope_of_mish(x: Tensor, inner: Tensor) -> Tensor:
    return inner + x * (1.0 - inner * inner) * sigmoid(x)


def _gelu_exact(xp: Any, x: Any) -> Any:
    return x * ndtr.forward(xp, x)


def _gelu_argument(x: Any) -> Any:
    return (x * x * x * 0.044715 + x) * math.sqrt(2.0 / math.pi)


def _slope_of_gelu(x: Tensor, inner: Tensor) -> Tensor:
    rate = (1.0 + 3.0 * 0.044715 * x * x) * math.sqrt(2.0 / math.pi)
    return 0.5 * (1.0 + inner) + 0.5 * x * (1.0 - inner * inner) * rate


def gelu(x: Any, approximate: bool = False) -> Tensor:
    """Return x times the probability that a standard normal number is below x, for each element.

    approximate: by a tanh, as GPT-2 has it: within 5e-4.
    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.

    >>> gelu([-1.0, 0.0, 2.0])
    Tensor (3,) float32, cpu: [-0.158655  0.        1.9545  ]
    """
    return _gelu_tanh(x) if approximate else _gelu(x)


def softplus(x: Any, beta: float = 1.0) -> Tensor:
    """Return log(1 + exp(beta x)) / beta for each element: a smooth max(x, 0), exact for every x.

    Raises: InputError if beta is not positive.

    >>> softplus([0.0, 100.0])
    Tensor (2,) float32, cpu: [  0.693147 100.      ]
    """
    beta = as_number(beta, "softplus: beta")
    if beta <= 0:
        raise InputError(f"softplus(x, beta): beta={beta} must be positive")
    return _log_sum(x) if beta == 1 else _log_sum(x * beta) * (1.0 / beta)


def leaky_relu(x: Any, slope: float = 0.01) -> Tensor:
    """Return x where it is positive, slope x elsewhere.

    >>> leaky_relu([-1.0, 2.0], 0.25)
    Tensor (2,) float32, cpu: [-0.25  2.  ]
    """
    return _leaky(x, slope=as_number(slope, "leaky_relu: slope"))


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """Return x where it is positive, alpha (exp(x) - 1) elsewhere. Source: Clevert et al. 2015, arXiv:1511.07289.

    >>> elu([-1.0, 2.0])
    Tensor (2,) float32, cpu: [-0.632121  2.      ]
    """
    return _elu(x, alpha=as_number(alpha, "elu: alpha"))


def selu(x: Any) -> Tensor:
    """Return 1.0507 elu(x, alpha=1.6733), which keeps mean 0 and variance 1 from layer to layer.

    Source: Klambauer et al. 2017, arXiv:1706.02515.

    >>> selu([-1.0, 2.0])
    Tensor (2,) float32, cpu: [-1.111331  2.101402]
    """
    return _elu(x, alpha=1.6732632423543772) * 1.0507009873554805


def celu(x: Any, alpha: float = 1.0) -> Tensor:
    """Return x where it is positive, alpha (exp(x / alpha) - 1) elsewhere; its derivative has no jump.

    Source: Barron 2017, arXiv:1704.07483.
    Raises: InputError if alpha is not positive.

    >>> celu([-1.0, 2.0], 2.0)
    Tensor (2,) float32, cpu: [-0.786939  2.      ]
    """
    alpha = as_number(alpha, "celu: alpha")
    if alpha <= 0:
        raise InputError(f"celu(x, alpha): alpha={alpha} must be positive")
    return _elu(divide(x, alpha), alpha=1.0) * alpha


def relu6(x: Any) -> Tensor:
    """Return x between 0 and 6; the derivative on these is 0.

    >>> relu6([-1.0, 2.0, 9.0])
    Tensor (3,) float32, cpu: [0. 2. 6.]
    """
    return hardtanh(x, 0.0, 6.0)


def hardtanh(x: Any, lower: float = -1.0, upper: float = 1.0) -> Tensor:
    """Return x between lower and upper; the derivative on these is 0, where `clip` has 1.

    Raises: InputError if lower exceeds upper.

    >>> hardtanh([-3.0, 0.5])
    Tensor (2,) float32, cpu: [-1.   0.5]
    """
    lower, upper = as_number(lower, "hardtanh: lower"), as_number(upper, "hardtanh: upper")
    if lower > upper:
        raise InputError(f"hardtanh: lower={lower} exceeds upper={upper}; give lower <= upper")
    return _between(x, lower=lower, upper=upper)


def hardsigmoid(x: Any) -> Tensor:
    """Return (x + 3) / 6 between 0 and 1.

    >>> hardsigmoid([-4.0, 0.0])
    Tensor (2,) float32, cpu: [0.  0.5]
    """
    return _hardsigmoid(x)


def hardswish(x: Any) -> Tensor:
    """Return x hardsigmoid(x). Source: Howard et al. 2019, arXiv:1905.02244.

    >>> hardswish([-4.0, 3.0])
    Tensor (2,) float32, cpu: [-0.  3.]
    """
    return _hardswish(x)


def hardshrink(x: Any, width: float = 0.5) -> Tensor:
    """Return x, and 0 where |x| <= width.

    >>> hardshrink([0.25, 2.0])
    Tensor (2,) float32, cpu: [0. 2.]
    """
    return _hardshrink(x, width=as_number(width, "hardshrink: width"))


def softshrink(x: Any, width: float = 0.5) -> Tensor:
    """Return x moved by `width` towards 0, and 0 where |x| <= width: the step of an L1 penalty.

    Raises: InputError if the width is negative.

    >>> softshrink([-2.0, 0.25, 2.0])
    Tensor (3,) float32, cpu: [-1.5  0.   1.5]
    """
    width = as_number(width, "softshrink: width")
    if width < 0:
        raise InputError(f"softshrink(x, width): width={width} must be 0 or more")
    return _softshrink(x, width=width)


def threshold(x: Any, limit: float, value: float) -> Tensor:
    """Return x where it exceeds the limit, and a value elsewhere.

    >>> threshold([0.5, 2.0], 1.0, -1.0)
    Tensor (2,) float32, cpu: [-1.  2.]
    """
    return _threshold(x, limit=as_number(limit, "threshold: limit"), value=as_number(value, "threshold: value"))


def glu(x: Any, axis: int = -1) -> Tensor:
    """Return the first half of x along an axis times the sigmoid of the second half. Source: Dauphin et al. 2017, arXiv:1612.08083.

    Raises: ShapeError if the axis is outside x or of odd length.

    >>> glu([3.0, 0.0])
    Tensor (1,) float32, cpu: [1.5]
    """
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim, "glu")
    half, odd = divmod(x.shape[place], 2)
    if odd:
        raise ShapeError(f"glu(x, axis={axis}): x has shape {x.shape}; the axis must have an even length, so that it has two halves")
    lead = (slice(None),) * place
    return x[(*lead, slice(0, half))] * sigmoid(x[(*lead, slice(half, None))])
