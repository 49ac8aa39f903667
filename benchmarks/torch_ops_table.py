"""Which Hyperion function has the meaning of each of PyTorch's operations: an adapter with PyTorch's signature that renames arguments.

An adapter renames, reorders and unpacks; the operation itself, and so its derivative, is a function of Hyperion's. Functions are looked
up when they are called, so that one that Hyperion lacks is reported, not an error of the table.
"""

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import hyperion as hp

FOUND: set[str] = set()  # names of the functions that were looked up since it was last cleared: they go into the result


class Missing(Exception):
    """Hyperion has no such function; the text is its name."""


class Skip(Exception):
    """This sample has no meaning here; the text says why."""


class Different(Exception):
    """The results cannot be compared: another number of outputs, another shape."""


class Finder:
    """Looks functions up in Hyperion: `N.sum`, `N.linalg.det`, or the first of several names: `N("lgamma", "gammaln")`."""

    def __init__(self, path: str = "", places: tuple[str, ...] = ("", "linalg", "fft", "special", "windows")) -> None:
        self._path, self._places = path, places

    def __call__(self, *names: str) -> Any:
        for name in names:
            for place in self._places:
                holder: Any = hp
                for part in filter(None, f"{place}.{name}".split(".")[:-1]):
                    holder = getattr(holder, part, None)
                found = getattr(holder, name.rsplit(".", 1)[-1], None)
                if found is not None and not isinstance(found, types.ModuleType):
                    FOUND.add(f"{place}.{name}".strip("."))
                    return found
        raise Missing(" or ".join(names))

    def __getattr__(self, name: str) -> Any:
        if name in ("linalg", "fft", "windows", "special") and not self._path:
            return Finder(name, (name,))
        return self(name)


N = Finder()


def as_it_is(outputs: Any) -> Any:
    return outputs


@dataclass(frozen=True)
class Entry:
    """How one operation is compared.

    run: the adapter.  process: makes outputs unique that are free up to a phase or sign, in both libraries alike.
    wrapped: PyTorch's side is called through op_db's `gradcheck_wrapper` (it symmetrises Hermitian inputs, say); the adapter does the same.
    drop: keywords of PyTorch's that Hyperion lacks, left out of the samples in both libraries.
    value_only, second: derivatives, or only the second ones, are not compared, for the reason in `note`.
    tolerance, reason: instead of 1e-10, where the samples' condition asks for it.
    """

    run: Callable[..., Any]
    process: Callable[[Any], Any] = as_it_is
    wrapped: bool = False
    drop: tuple[str, ...] = ()
    value_only: bool = False
    second: bool = True
    tolerance: float | None = None
    reason: str = ""
    note: str = ""

    def run_torch(self, op: Any, first: Any, *args: Any, **kwargs: Any) -> Any:
        return op.gradcheck_wrapper(op.op, first, *args, **kwargs) if self.wrapped else op.op(first, *args, **kwargs)


def axes(dim: Any) -> Any:
    """Return PyTorch's dim as an axis: an empty list means all."""
    return None if dim is None or (isinstance(dim, (tuple, list)) and not dim) else tuple(dim) if isinstance(dim, (tuple, list)) else dim


def dtype_name(dtype: Any) -> str:
    """Return the name of a PyTorch dtype."""
    return str(dtype).removeprefix("torch.")


def cast(x: Any, dtype: Any) -> Any:
    """Return x in a PyTorch dtype (None: as it is), as functions with a dtype argument do first."""
    return x if dtype is None else converted(x, dtype_name(dtype))


def only(value: Any, usual: Any, what: str) -> None:
    """Skip the sample unless an option that Hyperion's function lacks has its usual value."""
    if value != usual:
        raise Skip(what)


def several(value: Any, count: int) -> tuple[int, ...]:
    """Return one number or several as a tuple."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * count


def size_of(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Return a shape given as numbers or as one tuple."""
    return tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else tuple(shape)


def first_of(found: Any) -> Any:
    """Return the first output of PyTorch's functions that return several."""
    return found[0] if isinstance(found, tuple) else found


def conjugate_transpose(x: Any) -> Any:
    return N.conj(N.matrix_transpose(x))


def symmetrised(x: Any) -> Any:
    """Return x plus its conjugate transpose, as op_db's gradcheck_wrapper_hermitian_input."""
    return x + conjugate_transpose(x)


def operator(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
    """Return an adapter that uses an operator of Tensors."""

    def adapter(x: Any, *rest: Any) -> Any:
        FOUND.add(f"Tensor.{name}")
        return run(x, *rest)

    return adapter


def per_channel(weight: Any, ndim: int) -> Any:
    """Return a weight for each channel in a shape that broadcasts with (batch, channels, *space)."""
    return N.reshape(weight, () if weight.size == 1 else (-1,) + (1,) * (ndim - 2))


def unary(*names: str) -> Callable[..., Any]:
    return lambda x, inplace=False: N(*names)(x)


def binary(*names: str) -> Callable[..., Any]:
    return lambda x, y: N(*names)(x, y)


def reduction(*names: str) -> Callable[..., Any]:
    return lambda x, dim=None, keepdim=False, dtype=None: N(*names)(cast(x, dtype), axis=axes(dim), keepdims=keepdim)


def running(*names: str) -> Callable[..., Any]:
    return lambda x, dim, dtype=None: N(*names)(cast(x, dtype), axis=dim)


TABLE: dict[str, Entry | str] = {}


def add(name: str, run: Callable[..., Any], **options: Any) -> None:
    """Add an operation, or one variant of it ("name.variant")."""
    TABLE[name] = Entry(run, **options)


# Elementwise, one input

for theirs, ours in {
    "abs": "abs", "acos": "acos", "acosh": "acosh", "asin": "asin", "asinh": "asinh", "atan": "atan", "atanh": "atanh", "ceil": "ceil",
    "cos": "cos", "cosh": "cosh", "deg2rad": "deg2rad radians", "rad2deg": "rad2deg degrees", "exp": "exp", "exp2": "exp2",
    "expm1": "expm1", "floor": "floor", "frac": "frac", "log": "log", "log10": "log10", "log1p": "log1p", "log2": "log2",
    "neg": "negative", "positive": "positive", "reciprocal": "reciprocal", "rsqrt": "rsqrt", "sigmoid": "sigmoid expit", "sign": "sign",
    "sgn": "sign", "sin": "sin", "sinc": "sinc", "sinh": "sinh", "sqrt": "sqrt", "square": "square", "tan": "tan", "tanh": "tanh",
    "trunc": "trunc", "conj": "conj", "conj_physical": "conj", "real": "real", "imag": "imag", "angle": "angle", "erf": "erf",
    "erfc": "erfc", "erfinv": "erfinv", "i0": "i0", "special.i0e": "i0e", "special.i1": "i1", "special.i1e": "i1e", "special.ndtr": "ndtr",
    "special.ndtri": "ndtri", "special.log_ndtr": "log_ndtr", "special.entr": "entr", "special.erfcx": "erfcx",
    "special.modified_bessel_i0": "i0", "special.modified_bessel_i1": "i1", "special.modified_bessel_k0": "k0",
    "special.modified_bessel_k1": "k1", "special.scaled_modified_bessel_k0": "k0e", "special.scaled_modified_bessel_k1": "k1e",
    "special.spherical_bessel_j0": "spherical_j0", "special.airy_ai": "airy_ai", "isfinite": "isfinite", "isinf": "isinf",
    "isnan": "isnan", "isposinf": "isposinf", "isneginf": "isneginf", "isreal": "isreal", "signbit": "signbit",
    "logical_not": "logical_not", "bitwise_not": "bitwise_invert", "nn.functional.relu": "relu", "nn.functional.relu6": "relu6",
    "nn.functional.selu": "selu", "nn.functional.silu": "silu", "nn.functional.mish": "mish", "nn.functional.softsign": "softsign",
    "nn.functional.tanhshrink": "tanhshrink tanh_shrink", "nn.functional.hardswish": "hardswish hard_swish",
    "nn.functional.logsigmoid": "logsigmoid log_sigmoid", "view_as_real": "view_as_real", "view_as_complex": "view_as_complex",
    "frexp": "frexp",
}.items():
    add(theirs, unary(*ours.split()))

add("nn.functional.hardsigmoid", unary("hardsigmoid", "hard_sigmoid"), tolerance=1e-7, reason="PyTorch's derivative has 1/6 in float32")
add("round", lambda x, decimals=0: N.round(x) if not decimals else N.round(x, decimals=decimals))
add("nan_to_num", lambda x, nan=None, posinf=None, neginf=None: N.nan_to_num(x, nan=nan or 0.0, posinf=posinf, neginf=neginf))
add("logit", lambda x, eps=None: N.logit(x) if eps is None else skip("eps, which clips first"))
TRIGAMMA = {"tolerance": 2e-9, "reason": "PyTorch's trigamma is off by up to 5e-10 (against mpmath; ours by 4e-16)"}
add("digamma", unary("digamma"), **TRIGAMMA)
add("lgamma", unary("lgamma", "gammaln"), **TRIGAMMA)
add("polygamma", lambda x, n: N.polygamma(n, x), **TRIGAMMA)
add("special.polygamma", lambda x, n: N.polygamma(n, x), **TRIGAMMA)
add("mvlgamma", lambda x, p: N("multigammaln", "mvlgamma")(x, p), **TRIGAMMA)
for name in ("j0", "j1", "y0", "y1"):
    add(f"special.bessel_{name}", unary(name), tolerance=1e-6, reason="PyTorch's is off by up to 3e-7 (against mpmath; ours by 1e-15)")
add("clamp", lambda x, min=None, max=None: N.clip(x, min, max))
add("clamp_min", lambda x, bound: N.clip(x, bound, None))
add("clamp_max", lambda x, bound: N.clip(x, None, bound))
add("nn.functional.leaky_relu", lambda x, negative_slope=0.01, inplace=False: N.leaky_relu(x, negative_slope))
add("nn.functional.elu", lambda x, alpha=1.0, inplace=False: N.elu(x, alpha))
add("nn.functional.celu", lambda x, alpha=1.0, inplace=False: N.celu(x, alpha))
add("nn.functional.gelu", lambda x, approximate="none": N.gelu(x, approximate=approximate == "tanh"))
add("nn.functional.hardtanh", lambda x, min_val=-1.0, max_val=1.0, inplace=False: N("hardtanh", "hard_tanh")(x, min_val, max_val))
add("nn.functional.hardshrink", lambda x, lambd=0.5: N("hardshrink", "hard_shrink")(x, lambd))
add("nn.functional.softshrink", lambda x, lambd=0.5: N("softshrink", "soft_shrink")(x, lambd))
add(
    "nn.functional.softplus",
    lambda x, beta=1.0: N.softplus(x, beta),
    drop=("threshold",),
    tolerance=1e-8,
    reason="PyTorch, with the threshold at its default, is linear above 20: off by exp(-20) = 2e-9",
)
add("nn.functional.threshold", lambda x, threshold, value, inplace=False: N.threshold(x, threshold, value))
add("nn.functional.prelu", lambda x, weight: N.prelu(x, per_channel(weight, x.ndim)))
add("nn.functional.glu", lambda x, dim=-1: N.glu(x, axis=dim))

# Elementwise, several inputs

for theirs, ours in {
    "atan2": "atan2", "copysign": "copysign", "fmax": "fmax", "fmin": "fmin", "fmod": "fmod", "remainder": "remainder", "hypot": "hypot",
    "logaddexp": "logaddexp", "logaddexp2": "logaddexp2", "maximum": "maximum", "minimum": "minimum", "max.binary": "maximum",
    "min.binary": "minimum", "mul": "multiply", "true_divide": "divide", "pow": "pow power", "xlogy": "xlogy",
    "special.xlog1py": "xlog1py", "nextafter": "nextafter", "heaviside": "heaviside", "gcd": "gcd", "lcm": "lcm",
    "floor_divide": "floor_divide", "eq": "equal", "ne": "not_equal", "ge": "greater_equal", "gt": "greater", "le": "less_equal",
    "lt": "less", "logical_and": "logical_and", "logical_or": "logical_or", "logical_xor": "logical_xor", "bitwise_and": "bitwise_and",
    "bitwise_or": "bitwise_or", "bitwise_xor": "bitwise_xor", "bitwise_left_shift": "bitwise_left_shift",
    "bitwise_right_shift": "bitwise_right_shift", "complex": "make_complex complex", "polar": "polar", "igamma": "gammainc",
    "igammac": "gammaincc", "special.zeta": "zeta", "float_power": "float_power",
}.items():
    add(theirs, binary(*ours.split()))
for theirs, ours in {
    "special.chebyshev_polynomial_t": "chebyt", "special.chebyshev_polynomial_u": "chebyu", "special.chebyshev_polynomial_v": "chebyv",
    "special.chebyshev_polynomial_w": "chebyw", "special.shifted_chebyshev_polynomial_t": "sh_chebyt",
    "special.shifted_chebyshev_polynomial_u": "sh_chebyu", "special.shifted_chebyshev_polynomial_v": "sh_chebyv",
    "special.shifted_chebyshev_polynomial_w": "sh_chebyw", "special.hermite_polynomial_h": "hermite",
    "special.hermite_polynomial_he": "hermitenorm", "special.laguerre_polynomial_l": "laguerre",
    "special.legendre_polynomial_p": "legendre",
}.items():
    add(theirs, lambda x, n, ours=ours: N(f"eval_{ours}", ours)(n, x))


ALPHA = {"drop": ("alpha",), "note": "without alpha, a factor of the second input"}
add("add", lambda x, y: N.add(x, y), **ALPHA)
add("sub", lambda x, y: N.subtract(x, y), **ALPHA)
add("rsub", lambda x, y: N.subtract(y, x), **ALPHA)
add("div.no_rounding_mode", lambda x, y, rounding_mode=None: N.divide(x, y))
add("div.floor_rounding", lambda x, y, rounding_mode=None: N.floor_divide(x, y))
TABLE["div.trunc_rounding"] = "there is no division that truncates"
for name, run in {
    "__radd__": lambda x, y: y + x,
    "__rsub__": lambda x, y: y - x,
    "__rmul__": lambda x, y: y * x,
    "__rdiv__": lambda x, y: y / x,
    "__rpow__": lambda x, y: y**x,
    "__rmod__": lambda x, y: y % x,
    "__rmatmul__": lambda x, y: y @ x,
    "__rand__": lambda x, y: y & x,
    "__ror__": lambda x, y: y | x,
    "__rxor__": lambda x, y: y ^ x,
}.items():
    add(name, operator(name, run))
add("ldexp", lambda x, y: N.ldexp(x, y) if y.dtype.kind in "iu" else skip("a floating exponent, refused: x * exp2(y) is meant"))
add("lerp", lambda x, y, weight: N.lerp(x, y, weight))
add("addcmul", lambda x, a, b, value=1: N.addcmul(x, a, b, value))
add("addcdiv", lambda x, a, b, value=1: N.addcdiv(x, a, b, value))
add("where", lambda x, condition, y: N.where(condition, x, y))
for name in ("isclose", "allclose"):
    add(name, lambda x, y, rtol=1e-5, atol=1e-8, equal_nan=False, name=name: N(name)(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan))
add("equal", lambda x, y: N.array_equal(x, y))
add("softmax", lambda x, dim, dtype=None: N.softmax(cast(x, dtype), axis=dim))
add("log_softmax", lambda x, dim, dtype=None: N.log_softmax(cast(x, dtype), axis=dim))
add("nn.functional.softmin", lambda x, dim, dtype=None: N.softmin(cast(x, dtype), axis=dim))

# Dtypes and copies

for name, dtype in {
    "double": "float64", "cdouble": "complex128", "float": "float32", "cfloat": "complex64", "half": "float16", "bool": "bool",
    "byte": "uint8", "char": "int8", "short": "int16", "int": "int32", "long": "int64", "bfloat16": "bfloat16",
}.items():
    narrow = dtype in ("float32", "complex64", "float16", "bfloat16")
    add(
        name,
        lambda x, memory_format=None, dtype=dtype: converted(x, dtype),
        tolerance={"float16": 1e-3, "bfloat16": 1e-2}.get(dtype, 1e-6) if narrow else None,
        reason=f"results and cotangents are rounded to {dtype}, in both" if narrow else "",
    )


def converted(x: Any, dtype: str) -> Any:
    if x.dtype.kind == "c" and not dtype.startswith("complex"):
        raise Skip("complex to real, which drops the imaginary part: refused")
    return N.astype(x, dtype)


add("clone", lambda x, memory_format=None: N.asarray(x, copy=True))

# Creation: values only

add("arange", lambda start, *args, **kwargs: N.arange(start, *args, *filter(None, [kwargs.get("end")]), **typed(kwargs)))
add("linspace", lambda start, stop, num, **kwargs: N.linspace(number(start), number(stop), num, **typed(kwargs)))
add("logspace", lambda start, stop, num, base=10.0, **kwargs: N.logspace(number(start), number(stop), num, base=base, **typed(kwargs)))
add("eye", lambda n, m=None, **kwargs: N.eye(n, m, **typed(kwargs)))
add("ones", lambda *shape, **kwargs: N.ones(size_of(shape), **typed(kwargs)))
add("zeros", lambda *shape, **kwargs: N.zeros(size_of(shape), **typed(kwargs)))
add("full", lambda shape, value, **kwargs: N.full(tuple(shape), value, **typed(kwargs)))
add("ones_like", lambda x, **kwargs: N.ones_like(x, **typed(kwargs)))
add("zeros_like", lambda x, **kwargs: N.zeros_like(x, **typed(kwargs)))
add("full_like", lambda x, value, **kwargs: N.full_like(x, value, **typed(kwargs)))
add("tril_indices", lambda rows, columns, offset=0, **kwargs: N.stack(N.tril_indices(rows, k=offset, columns=columns)))
add("triu_indices", lambda rows, columns, offset=0, **kwargs: N.stack(N.triu_indices(rows, k=offset, columns=columns)))
add("scalar_tensor", lambda value, **kwargs: N.asarray(value, **typed(kwargs)))


def number(value: Any) -> Any:
    """Return a Python number; PyTorch also takes Tensors as bounds."""
    return value.item() if hasattr(value, "item") else value


def typed(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return only the dtype of a creation function's keywords, float64 where PyTorch was told a default."""
    return {"dtype": dtype_name(kwargs["dtype"])} if kwargs.get("dtype") is not None else {"dtype": None}


# Reductions

for theirs, ours in {
    "sum": "sum", "mean": "mean", "amax": "max", "amin": "min", "nansum": "nansum", "nanmean": "nanmean", "all": "all", "any": "any",
    "prod": "prod", "argmax": "argmax", "argmin": "argmin", "count_nonzero": "count_nonzero",
}.items():
    add(theirs, reduction(*ours.split()))
add("logsumexp", reduction("logsumexp"), tolerance=1e-9, reason="samples of 2e6: out is rounded by 4e-10")
for name in ("max", "min"):
    add(f"{name}.reduction_no_dim", lambda x, name=name: N(name)(x))
    add(
        f"{name}.reduction_with_dim",
        lambda x, dim, keepdim=False, name=name: (N(name)(x, axis=dim, keepdims=keepdim), N("arg" + name)(x, axis=dim, keepdims=keepdim)),
    )
add("aminmax", lambda x, dim=None, keepdim=False: N.aminmax(x, axis=dim, keepdims=keepdim))


def spread(*names: str, both: bool = False) -> Callable[..., Any]:
    def adapter(x: Any, *args: Any, dim: Any = None, unbiased: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
        args = list(args)
        if args and isinstance(args[0], bool):
            unbiased = args.pop(0)
        elif args:
            dim = args.pop(0)
        if args:
            unbiased = args.pop(0)
        if args:
            keepdim = args.pop(0)
        degrees = correction if correction is not None else 1 if unbiased is None else int(unbiased)
        return N(*names)(x, axis=axes(dim), correction=degrees, keepdims=keepdim)

    return adapter


for name in ("var", "std", "var_mean", "std_mean"):
    add(name, spread(name))
add("cumsum", running("cumsum", "cumulative_sum"))
add("cumprod", running("cumprod", "cumulative_prod"))
add("cummax", running("cummax"))
add("cummin", running("cummin"))
add("logcumsumexp", running("logcumsumexp"))
add("median", lambda x, dim=None, keepdim=False: lower_median("quantile", x, dim))
add("nanmedian", lambda x, dim=None, keepdim=False: lower_median("nanquantile", x, dim))
add(
    "quantile",
    lambda x, q, dim=None, keepdim=False, interpolation="linear": N.quantile(x, q, axis=dim, keepdims=keepdim, method=interpolation),
)
add(
    "nanquantile",
    lambda x, q, dim=None, keepdim=False, interpolation="linear": N.nanquantile(x, q, axis=dim, keepdims=keepdim, method=interpolation),
)
add("diff", lambda x, n=1, dim=-1, prepend=None, append=None: N.diff(x, axis=dim, n=n, prepend=prepend, append=append))
add("gradient", lambda x, *, spacing=1.0, dim=None, edge_order=1: gradient(x, spacing, dim, edge_order))


def gradient(x: Any, spacing: Any, dim: Any, edge_order: int) -> Any:
    given = () if spacing is None else tuple(spacing) if isinstance(spacing, (tuple, list)) else (spacing,)
    found = N.gradient(x, *given, axis=axes(dim), edge_order=edge_order)
    return found


for name in ("trapezoid", "trapz"):
    add(name, lambda y, x=None, *, dx=1.0, dim=-1: N("trapezoid", "trapz")(y, x, dx=dx, axis=dim))
add("cumulative_trapezoid", lambda y, x=None, *, dx=1.0, dim=-1: N.cumulative_trapezoid(y, x, dx=dx, axis=dim))
add("kthvalue", lambda x, k, dim=-1, keepdim=False: N.kthvalue(x, k, axis=dim, keepdims=keepdim))
add("mode", lambda x, dim=-1, keepdim=False: N.mode(x, axis=dim, keepdims=keepdim))
add("histc", lambda x, bins=100, min=0, max=0: N.histc(x, bins, min, max))
add(
    "histogram",
    lambda x, bins, *, range=None, weight=None, density=False: N.histogram(x, bins, range=range, weights=weight, density=density),
)
add("bincount", lambda x, weights=None, minlength=0: N.bincount(x, weights, minlength=minlength))
add("renorm", lambda x, p, dim, maxnorm: N.renorm(x, p, dim, maxnorm), tolerance=1e-7, reason="PyTorch divides by the norm plus 1e-7")


def lower_median(name: str, x: Any, dim: Any) -> Any:
    """torch.median takes the lower of the two values in the middle: the quantile of order 1/2 by that method."""
    if dim is not None:
        raise Skip("with dim it also returns indices of one of several equal values")
    return N(name)(x, 0.5, method="lower")


# Sorting, searching, sets

add(
    "sort",
    lambda x, dim=-1, descending=False, stable=False: (
        N.sort(x, axis=dim, descending=descending),
        N.argsort(x, axis=dim, descending=descending),
    ),
)
add("argsort", lambda x, dim=-1, descending=False, stable=False: N.argsort(x, axis=dim, descending=descending))
add("msort", lambda x: N.sort(x, axis=0))
add("topk", lambda x, k, dim=-1, largest=True, sorted=True: N.topk(x, k, axis=dim, largest=largest))
add(
    "searchsorted",
    lambda edges, x, *, out_int32=False, right=False, side=None, sorter=None: N.searchsorted(
        edges, x, side="right" if right or side == "right" else "left", **({} if sorter is None else {"sorter": sorter})
    ),
)
add("bucketize", lambda x, edges, *, out_int32=False, right=False: N.bucketize(x, edges, right=right))
add(
    "unique_consecutive",
    lambda x, return_inverse=False, return_counts=False, dim=None: unique(
        x, True, return_inverse, return_counts, dim, "unique_consecutive"
    ),
)
add("isin", lambda x, y, assume_unique=False, invert=False: N.isin(x, y, invert=invert))
add("argwhere", lambda x: N.argwhere(x))
add("nonzero", lambda x, as_tuple=False: skip("of a Tensor without axes") if not x.ndim else N.nonzero(x) if as_tuple else N.argwhere(x))
add(
    "unique",
    lambda x, sorted=True, return_inverse=False, return_counts=False, dim=None: unique(x, sorted, return_inverse, return_counts, dim),
)


def unique(x: Any, sorted: bool, return_inverse: bool, return_counts: bool, dim: Any, name: str = "unique_all") -> Any:
    only(dim, None, "unique along an axis")
    only(sorted, True, "unsorted: the order is free")
    everything = N(name)(x)
    return tuple(
        part
        for part, wanted in ((everything.values, True), (everything.inverse_indices, return_inverse), (everything.counts, return_counts))
        if wanted
    )


# Shapes

for name in ("reshape", "view", "view_copy"):
    add(name, lambda x, *shape, name=name: N.reshape(x, size_of(shape)) if not is_dtype(shape) else skip("a view as another dtype"))
for name in ("reshape_as", "view_as"):
    add(name, lambda x, other: N.reshape(x, tuple(other.shape)))


def is_dtype(shape: tuple[Any, ...]) -> bool:
    return len(shape) == 1 and not isinstance(shape[0], (int, tuple, list))


def skip(reason: str) -> Any:
    raise Skip(reason)


def squeezed(x: Any, dim: Any = None) -> Any:
    dims = tuple(range(x.ndim)) if dim is None else tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    return N.squeeze(x, tuple(d for d in dims if x.ndim and x.shape[d] == 1))


for name in ("squeeze", "squeeze_copy"):
    add(name, squeezed)
for name in ("unsqueeze", "unsqueeze_copy"):
    add(name, lambda x, dim: N.expand_dims(x, axis=dim))
for name in ("permute", "permute_copy"):
    add(name, lambda x, *dims: N.permute_dims(x, size_of(dims)))
for name in ("transpose", "transpose_copy"):
    add(name, lambda x, a, b: x if x.ndim == 0 else N("swapaxes")(x, a, b))
for name in ("t", "t_copy"):
    add(name, lambda x: x if x.ndim < 2 else N.matrix_transpose(x))
add("T", operator("T", lambda x: skip("a vector has no .T here") if x.ndim < 2 else x.T))
add("mT", operator("mT", lambda x: x.mT))
add("mH", operator("mH", lambda x: x.mH))
add("H", operator("mH", lambda x: x.mH if x.ndim == 2 else skip("a vector has no .mH here")))
add("movedim", lambda x, source, destination: N.moveaxis(x, source, destination))
for name in ("flatten",):
    add(name, lambda x, start_dim=0, end_dim=-1: flattened(x, start_dim, end_dim))


def flattened(x: Any, start: int, end: int) -> Any:
    return N("ravel")(x) if (start, end) == (0, -1) else N("flatten_axes")(x, start, end)


add("ravel", lambda x: N.ravel(x))
add("unflatten", lambda x, dim, sizes: N.unflatten_axis(x, dim, tuple(sizes)))
for name in ("expand", "broadcast_to", "expand_copy"):
    add(
        name,
        lambda x, *shape: N.broadcast_to(
            x, tuple(x.shape[i - len(size_of(shape)) + x.ndim] if n == -1 else n for i, n in enumerate(size_of(shape)))
        ),
    )
add("expand_as", lambda x, other: N.broadcast_to(x, tuple(other.shape)))
add("broadcast_shapes", lambda *shapes: N.broadcast_shapes(*(s if isinstance(s, int) else tuple(s) for s in shapes)))
add("broadcast_tensors", lambda *xs: N.broadcast_arrays(*xs))
add("sum_to_size", lambda x, *shape: N.sum_to(x, size_of(shape)))
add("flip", lambda x, dims: N.flip(x, axis=several(dims, 1)))
add("fliplr", lambda x: N.fliplr(x))
add("flipud", lambda x: N.flipud(x))
add("rot90", lambda x, k=1, dims=(0, 1): N.rot90(x, k, tuple(dims)))
add("roll", lambda x, shifts, dims=None: N.roll(x, tuple(shifts) if isinstance(shifts, (tuple, list)) else shifts, axis=axes(dims)))
add("repeat", lambda x, *counts: N.tile(x, size_of(counts)))
add("tile", lambda x, counts: N.tile(x, tuple(counts)))
add("repeat_interleave", lambda x, repeats, dim=None, output_size=None: N.repeat(x, repeats, axis=dim))
for name in ("atleast_1d", "atleast_2d", "atleast_3d"):
    add(name, lambda *xs, name=name: tuple(N(name)(x) for x in (xs[0] if len(xs) == 1 and isinstance(xs[0], (tuple, list)) else xs)))
add("cat", lambda xs, dim=0: N.concat([x for x in xs if x.shape != (0,)] or list(xs), axis=dim))
add("stack", lambda xs, dim=0: N.stack(list(xs), axis=dim))
for name in ("hstack", "vstack", "dstack", "column_stack"):
    add(name, lambda xs, name=name: N(name)(list(xs)))
for name in ("unbind", "unbind_copy"):
    add(name, lambda x, dim=0: N.unstack(x, axis=dim))
add("meshgrid", lambda *xs, indexing="ij": N.meshgrid(*(xs[0] if isinstance(xs[0], (tuple, list)) else xs), indexing=indexing))
for name in ("chunk", "unsafe_chunk"):
    add(name, lambda x, chunks, dim=0: N.chunk(x, chunks, axis=dim))
add("tensor_split", lambda x, parts, dim=0: N("array_split", "tensor_split")(x, as_sections(parts), axis=dim))
for name in ("hsplit", "vsplit", "dsplit"):
    add(name, lambda x, parts, name=name: N(name)(x, as_sections(parts)))


def as_sections(parts: Any) -> Any:
    """Return a count, or where to cut; PyTorch also takes Tensors."""
    values = parts.numpy().tolist() if hasattr(parts, "numpy") else parts
    return tuple(values) if isinstance(values, (tuple, list)) else values


def by_sizes(x: Any, sizes: Any, dim: int = 0) -> Any:
    """PyTorch's split is given lengths, `split` the places where to cut."""
    length = x.shape[dim]
    lengths = list(sizes) if isinstance(sizes, (tuple, list)) else [sizes] * (-(-length // sizes) if length else 1)
    cuts = [sum(lengths[:i]) for i in range(1, len(lengths))]
    return N.split(x, tuple(cuts), axis=dim)


for name in ("split", "unsafe_split", "split_with_sizes", "split_with_sizes_copy"):
    add(name, by_sizes)
for name in ("unfold", "unfold_copy"):
    add(name, lambda x, dim, size, step: N.sliding_window_view(x, size, axis=dim, step=step))
add("diag", lambda x, offset=0: N.diag(x, offset))
for name in ("diagonal", "diagonal_copy"):
    add(name, lambda x, offset=0, dim1=0, dim2=1: N("diagonal")(x, offset=offset, axis1=dim1, axis2=dim2))
add("linalg.diagonal", lambda x, *, offset=0, dim1=-2, dim2=-1: diagonal_of_matrices(x, offset, dim1, dim2))


def diagonal_of_matrices(x: Any, offset: int, dim1: int, dim2: int) -> Any:
    if (dim1 % x.ndim, dim2 % x.ndim) != (x.ndim - 2, x.ndim - 1):
        x = N.moveaxis(x, (dim1, dim2), (-2, -1))
    return N.linalg.diagonal(x, offset=offset)


add("diagflat", lambda x, offset=0: N.diagflat(x, offset))
add("diag_embed", lambda x, offset=0, dim1=-2, dim2=-1: N.diag_embed(x, offset=offset, axis1=dim1, axis2=dim2))
add("tril", lambda x, diagonal=0: N.tril(x, k=diagonal))
add("triu", lambda x, diagonal=0: N.triu(x, k=diagonal))
add("cartesian_prod", lambda *xs: N.cartesian_prod(*xs))
add("combinations", lambda x, r=2, with_replacement=False: N.combinations(x, r, with_replacement))
add("block_diag", lambda *xs: N.block_diag(*xs))
for name, mode in {
    "constant": "constant", "reflect": "reflect", "replicate": "edge", "replicate_negative": "edge", "circular": "wrap",
}.items():
    add(f"nn.functional.pad.{name}", lambda x, pad, given=None, value=None, mode=mode, **kwargs: padded(x, pad, mode, value or 0.0))
add("constant_pad_nd", lambda x, pad, value=0.0: padded(x, pad, "constant", value))


def padded(x: Any, pad: Any, mode: str, value: Any) -> Any:
    """PyTorch's widths start at the last axis."""
    pairs = [(pad[2 * i], pad[2 * i + 1]) for i in range(len(pad) // 2)][::-1]
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    if min(min(pair) for pair in widths) < 0:
        raise Skip("negative widths, which cut")
    return N.pad(x, tuple(widths), mode=mode, **({"value": value} if mode == "constant" else {}))


# Indexing

FLATTENED = "over the flattened input"
add("__getitem__", operator("__getitem__", lambda x, index: x[index]))
add("select", operator("__getitem__", lambda x, dim, index: x[(slice(None),) * (dim % x.ndim) + (index,)]))
for name in ("narrow", "narrow_copy"):
    add(name, lambda x, dim, start, length: N.narrow(x, dim, int(start), length))
add(
    "slice",
    operator("__getitem__", lambda x, dim=0, start=None, end=None, step=1: x[(slice(None),) * (dim % x.ndim) + (slice(start, end, step),)]),
)


add("gather", lambda x, dim, index, sparse_grad=False: gather(x, dim, index))
add("take_along_dim", lambda x, index, dim=None: N.take_along_axis(x, index, axis=dim) if dim is not None else skip(FLATTENED))


def gather(x: Any, dim: int, index: Any) -> Any:
    if not x.ndim or x.ndim != index.ndim or not index.size:
        raise Skip("of a Tensor without axes, or no indices at all")
    return N.gather(x, index, axis=dim)


add("index_select", lambda x, dim, index: N.index_select(x, index, axis=dim))
add("take", lambda x, index: N.take(x, index) if x.ndim == 1 else skip(FLATTENED))
add(
    "scatter",
    lambda x, dim, index, src, reduce=None: (
        N.scatter_along_axis(x, index, src, axis=dim)
        if reduce is None
        else N.scatter_reduce(x, index, src, {"add": "sum", "multiply": "prod"}[reduce], axis=dim)
    ),
)
add("scatter_add", lambda x, dim, index, src: N.scatter_add(x, index, src, axis=dim))
for name, way in {"sum": "sum", "prod": "prod", "mean": "mean", "amin": "min", "amax": "max"}.items():
    add(
        f"scatter_reduce.{name}",
        lambda x, dim, index, src, given=None, include_self=True, way=way, **kwargs: N.scatter_reduce(
            x, index, src, way, axis=dim, include_self=include_self
        ),
    )
    if name != "sum":
        add(
            f"index_reduce.{name}",
            lambda x, dim, index, src, given=None, include_self=True, way=way, **kwargs: N.index_reduce(
                x, index, src, way, axis=dim, include_self=include_self
            ),
        )
add("index_add", lambda x, dim, index, source: N.index_add(x, index, source, axis=dim), **ALPHA)
add("index_copy", lambda x, dim, index, source: N.index_copy(x, index, source, axis=dim))
add("index_fill", lambda x, dim, index, value: N.index_fill(x, index, value, axis=dim))
add("index_put", lambda x, index, values, accumulate=False: N.index_put(x, tuple(index), values, accumulate=accumulate))
add("masked_fill", lambda x, mask, value: N.masked_fill(x, mask, value))
add("masked_select", lambda x, mask: N.masked_select(x, mask))
add("masked_scatter", lambda x, mask, source: N.masked_scatter(x, mask, source))
add("select_scatter", lambda x, src, dim, index: N.select_scatter(x, src, dim, index))
add("slice_scatter", lambda x, src, dim=0, start=None, end=None, step=1: N.slice_scatter(x, src, dim, start, end, step))
add("diagonal_scatter", lambda x, src, offset=0, dim1=0, dim2=1: N.diagonal_scatter(x, src, offset, dim1, dim2))
add(
    "nn.functional.one_hot",
    lambda x, num_classes=-1: N.one_hot(x, num_classes) if num_classes >= 0 else skip("number of classes from the values"),
)
add(
    "nn.functional.embedding",
    lambda weight, index, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False: embedded(
        index, weight, padding_idx, max_norm, scale_grad_by_freq
    ),
)


def embedded(index: Any, weight: Any, padding_idx: Any, max_norm: Any, scale: bool) -> Any:
    only((padding_idx, max_norm, scale), (None, None, False), "padding_idx, max_norm or scale_grad_by_freq")
    return N.embedding(index, weight)


# Products and linear algebra

for theirs, ours in {
    "matmul": "matmul", "mm": "matmul", "bmm": "matmul", "mv": "matmul", "outer": "outer linalg.outer", "kron": "kron", "inner": "inner",
    "vdot": "vdot", "dot": "vecdot dot", "linalg.matrix_power": "linalg.matrix_power",
}.items():
    add(theirs, binary(*ours.split()))
add("dot", lambda x, y: N("dot", "inner")(x, y))
add("linalg.vecdot", lambda x, y, *, dim=-1: N.vecdot(x, y, axis=dim))
add("tensordot", lambda x, y, dims=2: tensordot(x, y, dims))
add("einsum", lambda xs, equation: einsum(xs, equation))


def tensordot(x: Any, y: Any, dims: Any) -> Any:
    if isinstance(dims, int):
        return N.tensordot(x, y, axes=dims)
    pairs = tuple(tuple(d) for d in dims)
    if any(x.shape[i] != y.shape[j] for i, j in zip(*pairs, strict=True)):
        raise Skip("an axis of length 1 against a longer one")
    return N.tensordot(x, y, axes=pairs)


def einsum(xs: Any, equation: str) -> Any:
    inputs, _, output = equation.partition("->")
    if "..." in inputs and output and "..." not in output:
        raise Skip("the ellipsis is summed away, which NumPy and Hyperion refuse")
    return N.einsum(equation, *xs)


add("trace", lambda x: N.trace(x))
for name in ("cross", "linalg.cross"):
    add(name, lambda x, y, dim=-1: skip("no dim: the first axis of length 3") if dim is None else N.cross(x, y, axis=dim))
for name in ("addmm", "addmv", "addr", "baddbmm", "addbmm"):
    add(name, lambda x, a, b, *, alpha=1, beta=1, name=name: N(name)(x, a, b, alpha=alpha, beta=beta))
add("linalg.multi_dot", lambda xs: N.multi_dot(list(xs)))
for theirs, ours in {
    "matrix_exp": "matrix_exp expm", "linalg.det": "det", "logdet": "logdet", "linalg.inv": "inv", "linalg.eigvals": "eigvals",
    "linalg.svdvals": "svdvals",
}.items():
    add(theirs, unary(*ours.split()))
add("linalg.slogdet", lambda x: tuple(N.linalg.slogdet(x)))
add("linalg.cholesky", lambda x, *, upper=False: N.linalg.cholesky(symmetrised(x), upper=upper), wrapped=True)
add("cholesky", lambda x, upper=False: N.linalg.cholesky(symmetrised(x), upper=upper), wrapped=True)
add(
    "linalg.eigh", lambda x, UPLO="L": tuple(N.linalg.eigh(symmetrised(x), UPLO=UPLO)), wrapped=True,
    process=lambda pair: (pair[0], abs(pair[1])),
)
add("linalg.eigvalsh", lambda x, UPLO="L": N.linalg.eigvalsh(symmetrised(x), UPLO=UPLO), wrapped=True)
add("linalg.eig", lambda x: tuple(N.linalg.eig(x)), process=lambda pair: (pair[0], abs(pair[1])))


def svd_invariants(usv: Any) -> Any:
    """Return what does not depend on the phases of singular vectors: op_db's fn_U, fn_S, fn_Vh and fn_UVh together."""
    u, s, vh = usv
    k = s.shape[-1]
    u, vh = u[..., :k], vh[..., :k, :]
    return abs(u), s, abs(vh), u @ vh


add("linalg.svd", lambda x, full_matrices=True: tuple(N.linalg.svd(x, full_matrices=full_matrices)), process=svd_invariants)
add(
    "svd",
    lambda x, some=True: (lambda u, s, vh: (u, s, conjugate_transpose(vh)))(*N.linalg.svd(x, full_matrices=not some)),
    process=lambda usv: svd_invariants((usv[0], usv[1], usv[2].mH if hasattr(usv[2], "mH") else conjugate_transpose(usv[2]))),
)
add("linalg.qr", lambda x, mode="reduced": tuple(N.linalg.qr(x, mode=mode)))
add("qr", lambda x, some=True: tuple(N.linalg.qr(x, mode="reduced" if some else "complete")))
add("linalg.lstsq.grad_oriented", lambda a, b, *, driver=None: lstsq(a, b), process=first_of, note="the solution only")
TABLE["linalg.lstsq"] = "the variant grad_oriented has the derivatives; the other outputs depend on LAPACK's driver"
add("linalg.pinv", lambda x, *, atol=None, rtol=None, hermitian=False: pinv(x, atol, rtol, hermitian))
add("linalg.pinv.hermitian", lambda x, *, atol=None, rtol=None, hermitian=True: pinv(symmetrised(x), atol, rtol, hermitian), wrapped=True)
add("linalg.pinv.singular", lambda a, b: N.linalg.pinv(a @ N.matrix_transpose(b)))
add("pinverse", lambda x, rcond=1e-15: N.linalg.pinv(x, rtol=rcond))
add("linalg.matrix_rank", lambda x, *, atol=None, rtol=None, hermitian=False: matrix_rank(x, atol, rtol, hermitian))


def pinv(x: Any, atol: Any, rtol: Any, hermitian: bool) -> Any:
    only(atol, None, "atol=")
    if hasattr(rtol, "shape"):
        raise Skip("one rtol for each matrix")
    return N.linalg.pinv(x, rtol=rtol, hermitian=hermitian)


def matrix_rank(x: Any, atol: Any, rtol: Any, hermitian: bool) -> Any:
    only(atol, None, "atol=")
    if hasattr(rtol, "shape"):
        raise Skip("one rtol for each matrix")
    return N.linalg.matrix_rank(x, rtol=rtol, hermitian=hermitian)


add("linalg.cond", lambda x, p=None: N.cond(x, p))
add(
    "linalg.vector_norm",
    lambda x, ord=2, dim=None, keepdim=False, dtype=None: N.linalg.vector_norm(cast(x, dtype), axis=axes(dim), keepdims=keepdim, ord=ord),
)
add("linalg.matrix_norm", lambda x, ord="fro", dim=(-2, -1), keepdim=False, dtype=None: matrix_norm(cast(x, dtype), ord, dim, keepdim))
add(
    "linalg.norm",
    lambda x, ord=None, dim=None, keepdim=False, dtype=None: N.linalg.norm(cast(x, dtype), ord=ord, axis=axes(dim), keepdims=keepdim),
)
add("linalg.norm.subgradients_at_zero", TABLE["linalg.norm"].run, second=False, note="at zero: norms have no second derivative there")
add("norm", lambda x, p="fro", dim=None, keepdim=False, dtype=None: norm(cast(x, dtype), p, dim, keepdim))


def matrix_norm(x: Any, ord: Any, dim: Any, keepdim: bool) -> Any:
    if tuple(d % x.ndim for d in dim) == (x.ndim - 2, x.ndim - 1):
        return N.linalg.matrix_norm(x, keepdims=keepdim, ord=ord)
    return N.linalg.norm(x, ord=ord, axis=tuple(dim), keepdims=keepdim)


def norm(x: Any, p: Any, dim: Any, keepdim: bool) -> Any:
    """torch.norm: of all elements as one vector unless p names a norm of matrices."""
    if p == "nuc":
        return matrix_norm(x, p, (0, 1) if dim is None else dim, keepdim)
    return N.linalg.vector_norm(x, axis=axes(dim), keepdims=keepdim, ord=2 if p in (None, "fro") else p)


def tensorsolve(a: Any, b: Any, dims: Any) -> Any:
    if dims is None:
        return N.tensorsolve(a, b)
    first = tuple(n for i, n in enumerate(a.shape) if i not in dims)[: b.ndim]
    only(first, tuple(b.shape), "b in another shape than a's first axes")
    return N.tensorsolve(a, b, axes=tuple(dims))


def lstsq(a: Any, b: Any) -> Any:
    only(b.ndim > 1 and b.ndim == a.ndim - 1, False, "a stack of vectors, which the array API standard reads as a matrix")
    return N.lstsq(a, b)[0]


def solve(a: Any, b: Any, *, left: bool = True) -> Any:
    """PyTorch also takes a stack of vectors, which the array API standard reads as a matrix."""
    only(left, True, "left=False")
    if b.ndim > 1 and b.ndim == a.ndim - 1:
        raise Skip("a stack of vectors, which the array API standard reads as a matrix")
    return N.linalg.solve(a, b)


add("linalg.solve", solve)
add(
    "linalg.solve_triangular",
    lambda a, b, *, upper, left=True, unitriangular=False: N("solve_triangular", "triangular_solve")(
        a, b, upper=upper, left=left, unit_diagonal=unitriangular
    ),
)
add("linalg.tensorinv", lambda x, ind=2: N.tensorinv(x, ind))
add("linalg.tensorsolve", lambda a, b, dims=None: tensorsolve(a, b, dims))
add("linalg.vander", lambda x, **kwargs: skip("of a Tensor without axes") if not x.ndim else N.vander(x, kwargs.get("N"), increasing=True))


def triangle(x: Any, upper: bool) -> Any:
    return N.triu(x) if upper else N.tril(x)


def with_unit_diagonal(x: Any) -> Any:
    """As op_db's gradcheck_wrapper_triangular_input_real_positive_diagonal."""
    ones = N.diag_embed(N.ones_like(N.linalg.diagonal(x)))
    return x - N.diag_embed(N.linalg.diagonal(x)) + ones


add("cholesky_inverse", lambda x, upper=False: N.cholesky_inverse(with_unit_diagonal(triangle(x, upper)), upper=upper), wrapped=True)
add("cholesky_solve", lambda b, factor, upper=False: N.cholesky_solve(b, triangle(factor, upper), upper=upper), wrapped=True)
add(
    "linalg.householder_product",
    lambda x, tau: N.householder_product(x, tau),
    tolerance=1e-7,
    reason="PyTorch's second derivative is off by up to 1e-8 (against the reflectors multiplied one by one; ours by 1e-15)",
)
add("linalg.lu", lambda x, *, pivot=True: tuple(N.linalg.lu(x)))
add(
    "linalg.lu_factor",
    lambda x, *, pivot=True: N.linalg.lu_factor(x)[0],
    process=first_of,
    note="the factors; PyTorch gives the exchanges of rows, Hyperion the order of the rows",
)
add("cdist", lambda x, y, p=2.0, compute_mode=None: N.cdist(x, y, p))
add("dist", lambda x, y, p=2: N.dist(x, y, p))
add("cov", lambda x, *, correction=1, fweights=None, aweights=None: cov(x, correction, fweights, aweights))
add("corrcoef", lambda x: N.corrcoef(x))


def cov(x: Any, correction: int, fweights: Any, aweights: Any) -> Any:
    if fweights is not None or aweights is not None:
        raise Skip("weights")
    return N.cov(x, correction=correction)


# FFT

for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
    add(f"fft.{name}", lambda x, n=None, dim=-1, norm=None, name=name: getattr(N.fft, name)(x, n=n, axis=dim, norm=norm or "backward"))
    add(
        f"fft.{name}n",
        lambda x, s=None, dim=None, norm=None, name=name: getattr(N.fft, name + "n")(
            x, s=several(s, 1) if s is not None else None, axes=several(dim, 1) if dim is not None else None, norm=norm or "backward"
        ),
    )
    add(
        f"fft.{name}2",
        lambda x, s=None, dim=(-2, -1), norm=None, name=name: getattr(N.fft, name + "2")(
            x, s=several(s, 1) if s is not None else None, axes=several(dim, 1), norm=norm or "backward"
        ),
    )
add("stft", lambda *args, **kwargs: stft(*args, **kwargs))
add("istft", lambda *args, **kwargs: istft(*args, **kwargs))


def stft(
    x: Any,
    n_fft: int,
    hop_length: Any = None,
    win_length: Any = None,
    window: Any = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: Any = None,
    return_complex: Any = None,
) -> Any:
    if not return_complex:
        raise Skip("pairs of real numbers, which PyTorch gives up")
    norm = "ortho" if normalized else "backward"
    return N.stft(
        x, n_fft, hop_length, no_window(n_fft, win_length, window), center=center, pad_mode=pad_mode, onesided=onesided, norm=norm
    )


def istft(
    x: Any,
    n_fft: int,
    hop_length: Any = None,
    win_length: Any = None,
    window: Any = None,
    center: bool = True,
    normalized: bool = False,
    onesided: Any = None,
    length: Any = None,
    return_complex: bool = False,
) -> Any:
    half = x.shape[-2] != n_fft if onesided is None else onesided
    only(half or return_complex, True, "a real signal of all frequencies: PyTorch drops half of them")
    norm = "ortho" if normalized else "backward"
    return N.istft(x, n_fft, hop_length, no_window(n_fft, win_length, window), center=center, onesided=half, length=length, norm=norm)


def no_window(size: int, length: Any, window: Any) -> Any:
    """Return a window; PyTorch's default is none, Hyperion's is Hann's."""
    return N.ones(length or size, dtype="float64") if window is None else window


for name in ("fftshift", "ifftshift"):
    add(f"fft.{name}", lambda x, dim=None, name=name: getattr(N.fft, name)(x, axes=axes(dim)))

# Other names of the same operations

add(
    "triangular_solve",
    lambda b, a, upper=False, transpose=False, unitriangular=False: (
        skip("transpose") if transpose else (N.linalg.solve_triangular(triangle(a, upper), b, upper=upper, unit_diagonal=unitriangular))
    ),
    wrapped=True,
    process=first_of,
)
add(
    "linalg.cholesky_ex",
    lambda x, *, upper=False, check_errors=False: N.linalg.cholesky(symmetrised(x), upper=upper),
    wrapped=True,
    process=first_of,
    note="the first output: errors are raised instead of counted",
)
add("linalg.inv_ex", lambda x, *, check_errors=False: N.linalg.inv(x), process=first_of, note="the first output: errors are raised")
add(
    "linalg.solve_ex",
    lambda a, b, *, left=True, check_errors=False: solve(a, b, left=left),
    process=first_of,
    note="the first output: errors are raised",
)
add("linalg.lu_factor_ex", lambda x, *, pivot=True, check_errors=False: N.linalg.lu_factor(x)[0], process=first_of, note="the factors")
add("new_zeros", lambda x, *shape, dtype=None, **kwargs: N.zeros(size_of(shape), dtype=dtype_name(dtype or x.dtype)))
add("new_ones", lambda x, *shape, dtype=None, **kwargs: N.ones(size_of(shape), dtype=dtype_name(dtype or x.dtype)))
add("new_full", lambda x, shape, value, dtype=None, **kwargs: N.full(tuple(shape), value, dtype=dtype_name(dtype or x.dtype)))
add("item", operator("item", lambda x: x.item()))
add("to", lambda x, *args, **kwargs: converted(x, target(x, (*args, *kwargs.values()))))


def target(x: Any, given: tuple[Any, ...]) -> str:
    """Return the dtype that torch.Tensor.to is asked for: named, or that of another Tensor."""
    for value in given:
        if hasattr(value, "shape"):
            return str(value.dtype)
        if hasattr(value, "is_floating_point"):
            return dtype_name(value)
    return str(x.dtype)


add("lu", lambda x, pivot=True, get_infos=False: N.linalg.lu_factor(x)[0], process=first_of, note="the factors")
add("unravel_index", lambda x, shape: N.unravel_index(x, tuple(shape) if isinstance(shape, (tuple, list)) else shape))

# Masked reductions: where=

for theirs, ours in {
    "sum": "sum", "prod": "prod", "mean": "mean", "amax": "max", "amin": "min", "logsumexp": "logsumexp", "argmax": "argmax",
    "argmin": "argmin",
}.items():
    add(
        f"masked.{theirs}",
        lambda x, dim=None, *, keepdim=False, dtype=None, mask=None, ours=ours: N(ours)(
            cast(x, dtype), axis=axes(dim), keepdims=keepdim or False, **masked(mask)
        ),
    )
for name in ("var", "std"):
    add(
        f"masked.{name}",
        lambda x, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None, name=name: N(name)(
            cast(x, dtype),
            axis=axes(dim),
            keepdims=keepdim or False,
            correction=correction if correction is not None else int(unbiased if unbiased is not None else True),
            **masked(mask),
        ),
    )
for name in ("softmax", "log_softmax", "softmin"):
    add(f"masked.{name}", lambda x, dim, *, dtype=None, mask=None, name=name: N(name)(cast(x, dtype), axis=dim, **masked(mask)))


def masked(mask: Any) -> dict[str, Any]:
    """Return the mask as the keyword of a reduction."""
    return {} if mask is None else {"where": mask}


# Networks: convolution, pooling, interpolation, normalisation

for rank in (1, 2, 3):
    add(
        f"nn.functional.conv{rank}d",
        lambda x, w, bias=None, stride=1, padding=0, dilation=1, groups=1, rank=rank: N(f"conv{rank}d")(
            x, w, bias, stride=stride, padding=padding, dilation=dilation, groups=groups
        ),
    )
    add(
        f"nn.functional.conv_transpose{rank}d",
        lambda x, w, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, rank=rank: N(f"conv_transpose{rank}d")(
            x, w, bias, stride=stride, padding=padding, output_padding=output_padding, groups=groups, dilation=dilation
        ),
    )
    add(
        f"nn.functional.avg_pool{rank}d",
        lambda x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, rank=rank: N(
            f"avg_pool{rank}d"
        )(x, plain(kernel_size), plain(stride), plain(padding), ceil_mode, count_include_pad, divisor=divisor_override),
    )
    add(
        f"nn.functional.max_pool{rank}d",
        lambda x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False, rank=rank: N(f"max_pool{rank}d")(
            x, plain(kernel_size), plain(stride), plain(padding), plain(dilation), ceil_mode, return_indices
        ),
    )
    add(
        f"nn.functional.adaptive_avg_pool{rank}d",
        lambda x, output_size, rank=rank: N(f"adaptive_avg_pool{rank}d")(x, adaptive_size(x, output_size, rank)),
    )
    add(
        f"nn.functional.adaptive_max_pool{rank}d",
        lambda x, output_size, return_indices=False, rank=rank: N(f"adaptive_max_pool{rank}d")(
            x, adaptive_size(x, output_size, rank), return_indices
        ),
    )
    add(
        f"nn.functional.max_unpool{rank}d",
        lambda x, indices, kernel_size, stride=None, padding=0, output_size=None, rank=rank: max_unpool(
            rank, x, indices, kernel_size, stride, padding, output_size
        ),
    )


def max_unpool(rank: int, x: Any, indices: Any, kernel: Any, stride: Any, padding: Any, size: Any) -> Any:
    flat = indices.numpy().reshape(-1, int(np.prod(indices.shape[-rank:])))
    if any(len(set(row)) < len(row) for row in flat.tolist()):
        raise Skip("several values written to one place: PyTorch gives a gradient also to those that were overwritten")
    return N(f"max_unpool{rank}d")(x, indices, plain(kernel), plain(stride), plain(padding), None if size is None else tuple(size)[-rank:])


def plain(value: Any) -> Any:
    """Return one number for all axes as a number, and PyTorch's empty stride as None."""
    if isinstance(value, (tuple, list)):
        return None if not value else value[0] if len(value) == 1 else tuple(value)
    return value


def adaptive_size(x: Any, size: Any, rank: int) -> tuple[int, ...]:
    """Return the lengths asked for; None keeps the input's."""
    return tuple(x.shape[i - rank] if n is None else n for i, n in enumerate(several(size, rank)))


for name in ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area"):
    add(
        f"nn.functional.interpolate.{name}",
        lambda x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None, antialias=False: (
            interpolated(x, *as_size(x, size, scale_factor, recompute_scale_factor), mode, align_corners, antialias)
        ),
    )
add("nn.functional.upsample_nearest", lambda x, size=None, scale_factor=None: interpolated(x, size, scale_factor, "nearest", None, False))
add("nn.functional.upsample_bilinear", lambda x, size=None, scale_factor=None: interpolated(x, size, scale_factor, "bilinear", True, False))


def as_size(x: Any, size: Any, scale: Any, recompute: Any) -> tuple[Any, Any]:
    """Return size and scale; recompute_scale_factor means the size that the scale gives."""
    if not recompute:
        return size, scale
    return tuple(int(n * s) for n, s in zip(x.shape[2:], several(scale, x.ndim - 2), strict=True)), None


def interpolated(x: Any, size: Any, scale: Any, mode: str, align_corners: Any, antialias: bool) -> Any:
    only(antialias, False, "antialias")
    return N.interpolate(
        x,
        size=tuple(size) if isinstance(size, list) else size,
        scale_factor=tuple(scale) if isinstance(scale, list) else scale,
        mode=mode,
        align_corners=bool(align_corners),
    )


for name in ("grid_sampler_2d", "grid_sampler_3d"):
    add(
        name,
        lambda x, grid, mode, padding, align_corners: N.grid_sample(
            x,
            grid,
            mode=("bilinear", "nearest", "bicubic")[mode],
            padding_mode=("zeros", "border", "reflection")[padding],
            align_corners=align_corners,
        ),
    )
add(
    "nn.functional.grid_sample",
    lambda x, grid, mode="bilinear", padding_mode="zeros", align_corners=None: N.grid_sample(
        x, grid, mode=mode, padding_mode=padding_mode, align_corners=bool(align_corners)
    ),
)
add(
    "nn.functional.unfold",
    lambda x, kernel_size, dilation=1, padding=0, stride=1: N.unfold(
        x, kernel_size if isinstance(kernel_size, int) else tuple(kernel_size), stride, padding, dilation
    ),
)
add("nn.functional.pixel_shuffle", lambda x, upscale_factor: N.pixel_shuffle(x, upscale_factor))
add("nn.functional.pixel_unshuffle", lambda x, downscale_factor: N.pixel_unshuffle(x, downscale_factor))
add("nn.functional.channel_shuffle", lambda x, groups: N.channel_shuffle(x, groups))
add(
    "nn.functional.layer_norm",
    lambda x, shape, weight=None, bias=None, eps=1e-5: N.layer_norm(sized(x), weight, bias, last_axes(x, shape), at_least_0(eps)),
)
add(
    "nn.functional.rms_norm",
    lambda x, shape, weight=None, eps=None: N.rms_norm(
        sized(x), weight, last_axes(x, shape), 2.220446049250313e-16 if eps is None else at_least_0(eps)
    ),
)
add("nn.functional.group_norm", lambda x, groups, weight=None, bias=None, eps=1e-5: N.group_norm(x, groups, weight, bias, at_least_0(eps)))
add(
    "nn.functional.instance_norm",
    lambda x, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5: (
        N.instance_norm(x, weight, bias, eps) if use_input_stats else skip("running statistics")
    ),
)
add(
    "nn.functional.batch_norm",
    lambda x, average, variance, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5: (
        N.batch_norm(x, None if training else average, None if training else variance, weight, bias, eps)
        if x.ndim > 1
        else skip("of a vector")
    ),
)
add("nn.functional.local_response_norm", lambda x, size, alpha=1e-4, beta=0.75, k=1.0: N.local_response_norm(x, size, alpha, beta, k))
add("nn.functional.normalize", lambda x, p=2.0, dim=1, eps=1e-12: N.normalize(x, p, dim, eps) if p > 0 else skip("p below 0: refused"))
add("nn.functional.cosine_similarity", lambda x, y, dim=1, eps=1e-8: N.cosine_similarity(x, y, dim, eps))
add("nn.functional.pairwise_distance", lambda x, y, p=2.0, eps=1e-6, keepdim=False: N.pairwise_distance(x, y, at_least_0(p), eps, keepdim))


def sized(x: Any) -> Any:
    return x if x.size else skip("no elements: refused")


def at_least_0(value: float) -> float:
    return value if value >= 0 else skip("a negative eps or p: refused")


def last_axes(x: Any, shape: Any) -> tuple[int, ...]:
    """Return the axes of a normalised shape: the last ones."""
    return tuple(range(x.ndim - len(shape), x.ndim))


# Windows

for name in ("hamming", "hann", "bartlett", "blackman", "cosine", "nuttall"):
    add(f"signal.windows.{name}", lambda n, sym=True, name=name, **kwargs: N(f"{name}_window", name)(n, sym=sym, dtype="float64"))

add(
    "signal.windows.exponential",
    lambda n, *, center=None, tau=1.0, sym=True, **kwargs: N("exponential_window", "exponential")(n, tau, center, sym=sym, dtype="float64"),
)
add("signal.windows.gaussian", lambda n, *, std=1.0, sym=True, **kwargs: N("gaussian_window", "gaussian")(n, std, sym=sym, dtype="float64"))
add("signal.windows.kaiser", lambda n, *, beta=12.0, sym=True, **kwargs: N("kaiser_window", "kaiser")(n, beta, sym=sym, dtype="float64"))
add(
    "signal.windows.general_cosine",
    lambda n, *, a, sym=True, **kwargs: N("general_cosine_window", "general_cosine")(n, tuple(a), sym=sym, dtype="float64"),
)
add(
    "signal.windows.general_hamming",
    lambda n, *, alpha=0.54, sym=True, **kwargs: N("general_hamming_window", "general_hamming")(n, alpha, sym=sym, dtype="float64"),
)

# No function of Hyperion's has their meaning

RANDOM = "random: the numbers differ by design"
STORAGE = "about storage: strides, aliases or uninitialised memory, which immutable values do not have"
INTERNAL = "internal to PyTorch"
GPU = "runs on GPUs only"
OTHER: dict[str, str] = {
    **dict.fromkeys(
        (
            "cauchy", "exponential", "geometric", "log_normal", "uniform", "randn", "randn_like", "rand_like", "randint", "randint_like",
            "multinomial", "normal", "bernoulli", "nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d",
            "nn.functional.alpha_dropout", "nn.functional.feature_alpha_dropout", "nn.functional.rrelu",
            "nn.functional.fractional_max_pool2d", "nn.functional.fractional_max_pool3d", "svd_lowrank", "pca_lowrank",
        ),
        RANDOM,
    ),
    **dict.fromkeys(
        (
            "as_strided", "as_strided_copy", "as_strided_scatter", "contiguous", "empty_like", "new_empty", "new_empty_strided",
            "empty_strided", "empty", "empty_permuted", "resize_", "resize_as_", "alias_copy", "resolve_conj", "resolve_neg", "zero_",
            "fill",
        ),
        STORAGE,
    ),
    **dict.fromkeys(
        (
            "_softmax_backward_data", "native_group_norm", "native_layer_norm", "native_batch_norm", "_native_batch_norm_legit",
            "_batch_norm_with_update", "max_pool2d_with_indices_backward", "native_dropout_backward", "_unsafe_masked_index",
            "_unsafe_masked_index_put_accumulate", "torch.ops.aten._safe_softmax.default", "_upsample_bilinear2d_aa", "_chunk_cat",
            "_segment_reduce", "hash_tensor", "nonzero_static",
        ),
        INTERNAL,
    ),
    **dict.fromkeys(
        (
            "torch._scaled_mm_v2", "torch._scaled_mm", "torch.ops.aten._flash_attention_forward",
            "torch.ops.aten._efficient_attention_forward", "jiterator_unary", "jiterator_binary", "jiterator_4inputs_with_extra_args",
            "jiterator_binary_return_by_ref", "jiterator_2inputs_2outputs",
        ),
        GPU,
    ),
    **dict.fromkeys(("sparse.sampled_addmm", "sparse.mm", "to_sparse"), "there are no sparse Tensors"),
    "chalf": "there is no complex dtype of 32 bits",
    **dict.fromkeys(
        ("lu_unpack", "geqrf", "ormqr", "linalg.ldl_factor", "linalg.ldl_factor_ex", "linalg.ldl_solve", "lu_solve", "linalg.lu_solve"),
        "packed as LAPACK packs it",
    ),
}
MISSING: tuple[str, ...] = (
    "nn.functional.linear", "nn.functional.cross_entropy",
    "nn.functional.linear_cross_entropy", "nn.functional.binary_cross_entropy_with_logits", "nn.functional.soft_margin_loss",
    "nn.functional.margin_ranking_loss", "nn.functional.multi_margin_loss", "nn.functional.multilabel_margin_loss",
    "nn.functional.multilabel_soft_margin_loss", "nn.functional.bilinear", "nn.functional.scaled_dot_product_attention",
    "nn.functional.triplet_margin_loss", "nn.functional.triplet_margin_with_distance_loss", "nn.functional.binary_cross_entropy", "put",
    "histogramdd", "nn.functional.smooth_l1_loss", "nn.functional.l1_loss", "nn.functional.embedding_bag",
    "nn.functional.multi_head_attention_forward", "nn.functional.mse_loss", "nn.functional.ctc_loss",
    "nn.functional.cosine_embedding_loss", "nn.functional.nll_loss", "nn.functional.gaussian_nll_loss",
    "nn.functional.hinge_embedding_loss", "nn.functional.huber_loss", "nn.functional.pdist", "nn.functional.poisson_nll_loss",
    "nn.functional.kl_div", "masked.cumsum", "masked.cumprod", "masked.median", "masked.norm", "masked.normalize", "masked.logaddexp",
)
