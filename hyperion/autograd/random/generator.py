"""The random generator: a key, and how many draws were made with it. Nothing here is global."""

import contextlib
import functools
import math
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from hyperion.autograd.batching import Batched
from hyperion.autograd.dtypes import FLOAT, INTEGER, as_dtype, is_floating, is_inexact, real_dtype, result_dtype
from hyperion.autograd.graph import state
from hyperion.autograd.ops.arithmetic import exp
from hyperion.autograd.ops.indexing import getitem
from hyperion.autograd.ops.shaping import as_shape, astype, broadcast_to, normalize_axis, to_device
from hyperion.autograd.ops.shaping import sum_to as summed
from hyperion.autograd.random import arithmetic, bits, rejection
from hyperion.autograd.random.implicit import log_gamma_sample
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DtypeError, GraphError, InputError, ShapeError
from hyperion.gpu import device as devices

__all__ = ["DRAWS", "Generator", "alive", "go_to", "mark", "replay"]

ALGORITHM = "philox4x64-10"
MANTISSA = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
LARGEST_RATE = 2.0**30

alive: "weakref.WeakSet[Generator]" = weakref.WeakSet()


class Generator:
    """A source of random numbers that is seeded, splits, and is saved and restored as a small dict.

    seed: whole number from 0 to 2^128 - 1.

    Number i of draw number d is a function of (key, d, i) alone: the same seed gives the same numbers on every run, processor, device and
    thread count; the first numbers of a longer draw are those of a shorter one; float32 numbers are the float64 ones, rounded (uniform
    ones: rounded down). Every call of a method that draws counts as one or two draws, whatever its size. Split a generator to hand a part
    of the work to someone else; never use one generator in two threads.

    Draws take `shape` first (None: that of the parameters), then parameters, which broadcast to it, then dtype (default: that of Tensor
    parameters, else float32) and device (default: that of Tensor parameters, else the CPU). Where a parameter is a tracked Tensor and the
    distribution has a smooth path (uniform, normal, laplace, exponential, gamma, beta, dirichlet), the result is differentiable in it.

    >>> generator = Generator(1)
    >>> generator.normal((3,))
    Tensor (3,) float32, cpu: [-2.091741  0.386613 -1.117077]
    >>> first, second = generator.split(2)
    >>> first.uniform((2,))
    Tensor (2,) float32, cpu: [0.801953 0.735248]
    """

    def __init__(self, seed: int) -> None:
        if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not 0 <= seed < 1 << 128:     # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"Generator(seed): seed={seed!r} must be a whole number from 0 to 2^128 - 1")
        self._key = bits.seed_key(int(seed))
        self._count = 0
        alive.add(self)

    def __repr__(self) -> str:
        return f"Generator {self._key[0]:016x}{self._key[1]:016x}, {self._count} draws made"

    # State

    def state(self) -> dict[str, Any]:
        """Return the state as a dict of text and numbers, for a checkpoint.

        >>> Generator(0).state()["count"]
        0
        """
        return {"algorithm": ALGORITHM, "key": f"{self._key[0]:016x}{self._key[1]:016x}", "count": self._count}

    def restore(self, state: dict[str, Any]) -> "Generator":
        """Go to a state that `state` gave, of this generator or of another one: what follows is what followed there. Returns itself.

        Raises: InputError if it is no such state.

        >>> generator = Generator(0)
        >>> kept = generator.state()
        >>> bool((generator.normal((4,)) == generator.restore(kept).normal((4,))).data.all())
        True
        """
        try:
            key, count, algorithm = str(state["key"]), int(state["count"]), str(state["algorithm"])
            words = int(key[:16], 16), int(key[16:], 16)
            if len(key) != 32 or count < 0 or algorithm != ALGORITHM:
                raise ValueError
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"Generator.restore(state): {state!r} is not a state of {ALGORITHM}; give what state() returned") from error
        self._key, self._count = words, count
        return self

    def split(self, n: int) -> "list[Generator]":
        """Return n generators that are independent of each other and of this one. Counts as a draw: splitting again gives others.

        >>> [child.integers((), 0, 100).item() for child in Generator(0).split(3)]
        [93, 72, 27]
        """
        count = _whole(n, "split(n): n")
        if state.recorder is not None and state.recorder.is_outside(self):
            raise GraphError(
                "Generator.split: in a function that hp.jit records every run would get the same generators; split outside and pass them"
            )
        draw = self._next()
        return [self._child(bits.child_key(self._key, i, draw)) for i in range(count)]

    def at(self, number: int) -> "Generator":
        """Return the generator that belongs to a number, such as that of a sample, a shot or a worker: the same whenever it is asked for.

        >>> Generator(0).at(7).uniform(()).item() == Generator(0).at(7).uniform(()).item()
        True
        """
        place = _whole(number, "at(number): number")
        if place >= 1 << 64:
            raise InputError(f"at(number): number={number} must be below 2^64")
        return self._child(bits.child_key(self._key, place, None))

    def _child(self, key: bits.Key) -> "Generator":
        child = Generator.__new__(Generator)
        child._key, child._count = key, 0
        alive.add(child)
        return child

    def _next(self) -> int:
        self._count += 1
        return self._count - 1

    def _fill(self, count: int, device: str, make: Callable[[Any, Any], Any]) -> Any:
        """Return one array with axis: make(xp, words) of the words of the next draw."""
        xp, draw = devices.namespace_of(device), self._next()
        with _on(device):
            return rejection.by_blocks(xp, count, lambda first, n: make(xp, bits.words(xp, self._key, draw, 0, first, n)))

    # Numbers without parameters to differentiate

    def bits(self, shape: Any = (), device: str = "cpu") -> Tensor:
        """Return random words: uint64, every bit 0 or 1 with equal probability.

        >>> Generator(0).bits((2,)).dtype
        dtype('uint64')
        """
        whole = _shape(shape, "bits")
        return Tensor(self._fill(math.prod(whole), device, lambda xp, word: word).reshape(whole))

    def integers(self, shape: Any, low: int, high: int, dtype: Any = None, device: str = "cpu") -> Tensor:
        """Return integers from low up to, without, high, each equally probable (exactly: none is favoured by rounding); int64 by default.

        Raises: InputError unless low < high; DtypeError if the dtype is no integer, or does not hold them.

        >>> Generator(0).integers((5,), -3, 3)
        Tensor (5,) int64, cpu: [ 1  2 -1  2 -3]
        """
        kind = INTEGER if dtype is None else as_dtype(dtype)
        low, high = _integer(low, "integers: low"), _integer(high, "integers: high")
        if kind.kind not in "iu":
            raise DtypeError(f"integers(dtype): {kind} is no integer dtype; use int64, or uniform for real numbers")
        if low >= high:
            raise InputError(f"integers(shape, low, high): low={low} must be below high={high}, which is not drawn itself")
        if low < np.iinfo(kind).min or high - 1 > np.iinfo(kind).max:
            raise DtypeError(f"integers: {kind} does not hold all of {low}..{high - 1}; choose a wider dtype")
        whole, xp, draw = _shape(shape, "integers"), devices.namespace_of(device), self._next()
        with _on(device):
            out = rejection.by_blocks(
                xp, math.prod(whole), lambda first, n: rejection.integers(xp, self._key, draw, first, n, high - low)
            )
            return Tensor((out + xp.uint64(low % (1 << 64))).astype(kind).reshape(whole))      # modulo 2^64, as integers wrap

    def bernoulli(self, shape: Any = None, probability: Any = 0.5, device: str | None = None) -> Tensor:
        """Return bool: true with a probability, a number or a Tensor.

        Raises: InputError if a probability is outside 0..1.

        >>> Generator(0).bernoulli((4,), 0.5)
        Tensor (4,) bool, cpu: [ True False False  True]
        """
        whole, place, p = self._values(shape, device, "bernoulli", probability=probability)
        if not bool(((p >= 0.0) & (p <= 1.0)).all()):
            raise InputError("bernoulli(probability): some value is below 0, above 1 or NaN; probabilities must be from 0 to 1")
        u = self._fill(p.size, place, lambda xp, word: _unit(xp, word, 53))
        return Tensor((u < p).reshape(whole))

    def rademacher(self, shape: Any = (), dtype: Any = None, device: str = "cpu") -> Tensor:
        """Return -1 or 1, each with probability 1/2; float32 by default, any signed dtype.

        >>> Generator(0).rademacher((4,))
        Tensor (4,) float32, cpu: [ 1. -1. -1.  1.]
        """
        kind = FLOAT if dtype is None else as_dtype(dtype)
        if kind.kind in "bu":
            raise DtypeError(f"rademacher(dtype): {kind} does not hold -1; use a signed dtype")
        whole = _shape(shape, "rademacher")
        out = self._fill(math.prod(whole), device, lambda xp, word: 1.0 - 2.0 * (word >> xp.uint64(63)).astype(xp.float64))
        return Tensor(out.astype(kind).reshape(whole))

    def permutation(self, x: Any, axis: int = 0, device: str = "cpu") -> Tensor:
        """Return the numbers 0..x-1 in random order, or a Tensor with its elements along an axis in random order.

        x: whole number or Tensor.

        >>> Generator(0).permutation(5)
        Tensor (5,) int64, cpu: [0 3 4 2 1]
        """
        if isinstance(x, int | np.integer) and not isinstance(x, bool):
            return self._order(_whole(x, "permutation(x): x"), device)
        x = as_tensor(x)
        place = normalize_axis(axis, x.ndim, "permutation")
        return getitem(x, (slice(None),) * place + (self._order(x.shape[place], x.device),))

    def _order(self, n: int, device: str) -> Tensor:
        xp = devices.namespace_of(device)
        keys = self._fill(n, device, lambda xp, word: word)
        return Tensor((np.argsort(keys, kind="stable") if xp is np else xp.argsort(keys)).astype(np.int64))

    def choice(self, x: Any, shape: Any = (), replace: bool = True, probabilities: Any = None, axis: int = 0) -> Tensor:
        """Return elements picked at random.

        x: whole number (the elements are 0..x-1), or a Tensor, picked from along an axis: the result has `shape` in place of that axis.
        replace: an element may be picked again.  probabilities: one weight for each element, of any sum; default: all equal. Without
        replacement, elements are picked one after another in proportion to the weights of those that are left.
        Raises: InputError if there are fewer elements (of weight above 0) than are picked without replacement, or none; ShapeError if
        there is not one weight for each element.

        >>> Generator(0).choice(10, (4,), replace=False)
        Tensor (4,) int64, cpu: [7 0 3 6]
        """
        whole = _shape(shape, "choice")
        if isinstance(x, int | np.integer) and not isinstance(x, bool):
            table, place, device, n = None, 0, "cpu", _whole(x, "choice(x): x")
        else:
            table = as_tensor(x)
            place = normalize_axis(axis, table.ndim, "choice")
            device, n = table.device, table.shape[place]
        weights = None if probabilities is None else _weights(probabilities, n)
        picked = math.prod(whole)
        present = n if weights is None else int((weights > 0.0).sum())
        if picked and present < (1 if replace else picked):
            raise InputError(
                f"choice: {picked} elements cannot be picked {'' if replace else 'without replacement '}from {present}"
                f"{'' if weights is None else ' of weight above 0'}; pick fewer{'' if replace else ', or set replace=True'}"
            )
        if not replace:
            order = self._order(n, "cpu") if weights is None else self._race(weights)
            index = Tensor(order.data[:picked].reshape(whole))
        elif weights is None:
            index = self.integers(whole, 0, max(n, 1))
        else:
            index = Tensor(self._inverse(whole, weights, weights))
        if table is None:
            return index
        return getitem(table, (slice(None),) * place + (Tensor(devices.to_device(index.data, device)),))

    def _race(self, weights: Any) -> Tensor:
        """Return all elements in the order in which exponential clocks of these rates ring; those of weight 0 come last."""
        times = self._fill(weights.size, "cpu", lambda xp, word: -arithmetic.log(xp, arithmetic.unit_open(xp, word)))
        with np.errstate(divide="ignore"):
            return Tensor(np.argsort(times / weights, kind="stable").astype(np.int64))

    def categorical(self, shape: Any = None, logits: Any = None, device: str | None = None) -> Tensor:
        """Return numbers of categories, int64: k with probability exp(logits[..., k]) / sum over k.

        shape: of the result, to which the axes of the logits before the last broadcast; default: those axes.
        Raises: InputError if logits are NaN or infinitely large, or there is no category.

        >>> Generator(0).categorical((6,), [0.0, 0.0, -1e9])
        Tensor (6,) int64, cpu: [0 1 1 0 1 1]
        """
        if logits is None:
            raise InputError("categorical(shape, logits): logits is missing; give the logarithm of a weight for each category")
        given = _seen(as_tensor(logits), "categorical")
        place = given.device if device is None else device
        x = devices.to_numpy(given.data).astype(np.float64)
        if not x.ndim or not x.shape[-1]:
            raise ShapeError(f"categorical(logits): shape {x.shape} has no last axis of categories; it must have at least one")
        top = x.max(axis=-1, keepdims=True)
        if not np.isfinite(top).all():
            raise InputError("categorical(logits): some are NaN or +inf, or all of a row are -inf; one of each row must be finite")
        whole = x.shape[:-1] if shape is None else _shape(shape, "categorical")
        weights = arithmetic.exp(np, np.maximum(x - top, -800.0).reshape(-1)).reshape(x.shape)
        index = self._inverse(whole, weights, x)
        return Tensor(devices.to_device(index, place))

    def _inverse(self, whole: tuple[int, ...], weights: Any, like: Any) -> Any:
        """Return numbers of categories by the inverse of the distribution function; weights: (..., categories), on the CPU."""
        batch = weights.shape[:-1]
        _refuse_shape(batch, whole, "categorical", "logits without the last axis")
        total = np.cumsum(weights, axis=-1)
        u = self._fill(math.prod(whole), "cpu", lambda xp, word: arithmetic.unit_open(xp, word)).reshape(whole)
        last = total[..., -1]
        u = np.minimum(u * last, np.nextafter(last, 0.0))       # below the total, so a category of weight 0 at the end is never reached
        if not batch:
            return np.searchsorted(total, u, side="right").astype(np.int64)
        if not u.size:
            return np.zeros(whole, np.int64)
        rows = u.reshape(-1, *whole[len(whole) - len(batch):])
        return np.stack([(total <= row[..., None]).sum(axis=-1) for row in rows]).astype(np.int64).reshape(whole)

    def poisson(self, shape: Any = None, rate: Any = 1.0, dtype: Any = None, device: str | None = None) -> Tensor:
        """Return counts of events that happen `rate` times on average; int64 by default.

        Raises: InputError if a rate is negative, NaN or above 2^30 (there a normal distribution of the same mean and variance serves).

        >>> Generator(0).poisson((5,), 3.0)
        Tensor (5,) int64, cpu: [ 0 10  5  2  3]
        """
        kind = INTEGER if dtype is None else as_dtype(dtype)
        whole, place, rates = self._values(shape, device, "poisson", rate=rate)
        if not bool(((rates >= 0.0) & (rates <= LARGEST_RATE)).all()):
            raise InputError("poisson(rate): some rate is negative, NaN or above 2^30; use rates from 0 to 2^30, beyond them normal(...)")
        xp, draw = devices.namespace_of(place), self._next()
        with _on(place):
            out = rejection.by_blocks(
                xp, rates.size, lambda first, n: rejection.poisson(xp, self._key, draw, first, rates[first:first + n])
            )
        return Tensor(out.astype(kind).reshape(whole))

    def orthogonal(self, shape: Any, dtype: Any = None, device: str = "cpu") -> Tensor:
        """Return matrices with orthonormal columns (rows, if there are fewer), uniformly distributed; unitary for complex dtypes.

        shape: (..., rows, columns). Made by LAPACK's QR, so the last digits differ between machines.
        Source: Mezzadri, How to generate random matrices from the classical compact groups, Notices of the AMS 54 (2007) 592.

        >>> q = Generator(0).orthogonal((3, 3), dtype="float64").numpy()
        >>> bool(np.abs(q.T @ q - np.eye(3)).max() < 1e-14)
        True
        """
        whole, kind = _shape(shape, "orthogonal"), FLOAT if dtype is None else as_dtype(dtype)
        if len(whole) < 2:
            raise ShapeError(f"orthogonal(shape): shape={whole} must have at least two axes: (..., rows, columns)")
        if not is_inexact(kind):
            raise DtypeError(f"orthogonal(dtype): {kind} is not floating or complex")
        *lead, rows, columns = whole
        wide = np.complex128 if kind.kind == "c" else np.float64
        z = self.normal((*lead, max(rows, columns), min(rows, columns)), dtype=wide).data
        q, r = np.linalg.qr(z)
        diagonal = np.diagonal(r, axis1=-2, axis2=-1)
        q = q * (diagonal / np.abs(diagonal))[..., None, :]
        q = q if rows >= columns else np.swapaxes(q, -1, -2)
        return Tensor(devices.to_device(q.astype(kind), device))

    # Numbers with parameters to differentiate

    def uniform(self, shape: Any = None, low: Any = 0.0, high: Any = 1.0, dtype: Any = None, device: str | None = None) -> Tensor:
        """Return numbers from low up to high, all equally probable.

        Between 0 and 1 they are k / 2^p with p the bits of the dtype's mantissa (11, 8, 24, 53 for float16, bfloat16, float32, float64):
        every such number below 1 is equally probable, and 1 never occurs. Other bounds: low + (high - low) u, which may round to high.

        >>> Generator(0).uniform((3,))
        Tensor (3,) float32, cpu: [0.017991 0.99911  0.834384]
        """
        whole, kind, place = self._settle(shape, dtype, device, "uniform", low=low, high=high)
        _refuse_complex(kind, "uniform")
        numbers = isinstance(low, int | float) and isinstance(high, int | float)
        if numbers and not low <= high:
            raise InputError(f"uniform(low, high): low={low} must not exceed high={high}")
        u = self._fill(math.prod(whole), place, lambda xp, word: _unit(xp, word, MANTISSA[kind.name])).astype(kind).reshape(whole)
        return Tensor(u) if numbers and low == 0.0 and high == 1.0 else low + (high - low) * Tensor(u)

    def normal(self, shape: Any = None, mean: Any = 0.0, scale: Any = 1.0, dtype: Any = None, device: str | None = None) -> Tensor:
        """Return normally distributed numbers, mean + scale * z.

        Of a complex dtype: real and imaginary part of z each have variance 1/2, so |z|^2 is 1 on average. |z| reaches 8.3 at most.

        >>> Generator(0).normal((3,), mean=10.0)
        Tensor (3,) float32, cpu: [ 7.634204 10.001115  9.790918]
        """
        whole, kind, place = self._settle(shape, dtype, device, "normal", mean=mean, scale=scale)
        count = math.prod(whole)
        if kind.kind == "c":
            z = self._fill(2 * count, place, rejection.normal) * math.sqrt(0.5)
            z = z.astype(real_dtype(kind)).view(kind)
        else:
            z = self._fill(count, place, rejection.normal).astype(kind)
        return _located(z.reshape(whole), mean, scale)

    def truncated_normal(
        self, shape: Any = None, low: float = -2.0, high: float = 2.0, mean: Any = 0.0, scale: Any = 1.0, dtype: Any = None,
        device: str | None = None,
    ) -> Tensor:
        """Return mean + scale * z with z normally distributed between low and high [standard deviations], two Python numbers.

        Raises: InputError unless low < high and the interval has a probability above 1e-300 (|bound| nearer to 0 below 37).

        >>> Generator(0).truncated_normal((3,), low=3.0, high=float("inf"))
        Tensor (3,) float32, cpu: [4.062389 3.000271 3.054725]
        """
        whole, kind, place = self._settle(shape, dtype, device, "truncated_normal", mean=mean, scale=scale)
        _refuse_complex(kind, "truncated_normal")
        if not low < high:
            raise InputError(f"truncated_normal(low, high): low={low} must be below high={high}")
        flip = low > 0.0                                    # in the upper tail, as in the lower one: there nothing is lost to rounding
        left, right = (-high, -low) if flip else (low, high)
        below, above = arithmetic.normal_tail(left), arithmetic.normal_tail(-right)
        inside = arithmetic.normal_tail(right) - below
        if not inside > 1e-300:
            raise InputError(f"truncated_normal(low, high): nothing lies between {low} and {high}; the bound nearer to 0 must be below 37")

        def make(xp: Any, word: Any) -> Any:
            u = arithmetic.unit_open(xp, word)
            p, rest = below + u * inside, above + (1.0 - u) * inside
            lower = p <= 0.5
            z = arithmetic.normal_quantile(xp, xp.maximum(xp.where(lower, p, xp.minimum(rest, 0.5)), 1e-300))
            z = xp.minimum(xp.maximum(xp.where(lower, z, -z), left), right)
            return -z if flip else z

        z = self._fill(math.prod(whole), place, make).astype(kind)
        return _located(z.reshape(whole), mean, scale)

    def laplace(self, shape: Any = None, mean: Any = 0.0, scale: Any = 1.0, dtype: Any = None, device: str | None = None) -> Tensor:
        """Return numbers of density exp(-|x - mean| / scale) / (2 scale).

        >>> Generator(0).laplace((3,))
        Tensor (3,) float32, cpu: [-4.017863e+00  8.902272e-04 -1.810611e-01]
        """

        def make(xp: Any, word: Any) -> Any:
            size = -arithmetic.log(xp, arithmetic.unit_open(xp, word))
            return xp.where((word & xp.uint64(1)) == 0, -size, size)

        return self._real(make, shape, dtype, device, "laplace", mean, scale)

    def exponential(self, shape: Any = None, scale: Any = 1.0, dtype: Any = None, device: str | None = None) -> Tensor:
        """Return numbers of density exp(-x / scale) / scale, x > 0.

        >>> Generator(0).exponential((3,))
        Tensor (3,) float32, cpu: [4.017863e+00 8.902272e-04 1.810611e-01]
        """
        return self._real(
            lambda xp, word: -arithmetic.log(xp, arithmetic.unit_open(xp, word)), shape, dtype, device, "exponential", 0.0, scale
        )

    def gumbel(self, shape: Any = None, mean: Any = 0.0, scale: Any = 1.0, dtype: Any = None, device: str | None = None) -> Tensor:
        """Return numbers of distribution function exp(-exp(-(x - mean) / scale)).

        logits + gumbel(logits.shape) has its largest element at k with the probability softmax(logits)[k].

        >>> Generator(0).gumbel((3,))
        Tensor (3,) float32, cpu: [-1.39075   7.024034  1.708921]
        """
        return self._real(
            lambda xp, word: -arithmetic.log(xp, -arithmetic.log(xp, arithmetic.unit_open(xp, word))), shape, dtype, device, "gumbel",
            mean, scale,
        )

    def gamma(
        self, shape: Any = None, concentration: Any = 1.0, scale: Any = 1.0, dtype: Any = None, device: str | None = None
    ) -> Tensor:
        """Return numbers of density x^(concentration - 1) exp(-x / scale), up to a factor, x > 0.

        Differentiable in the concentration to any order, by the derivative of the distribution function (relative error 1e-12 in float64,
        first order). With a concentration far below 1 numbers are so small that they round to 0: use log_gamma.
        Raises: InputError if a concentration is not above 0 and finite.

        >>> Generator(0).gamma((3,), 2.5)
        Tensor (3,) float32, cpu: [1.146178 0.426689 2.397748]
        """
        whole, kind, place = self._settle(shape, dtype, device, "gamma", concentration=concentration, scale=scale)
        _refuse_complex(kind, "gamma")
        x = astype(exp(self._log_gamma(_concentration(whole, place, concentration, "gamma"))), kind)
        return x if isinstance(scale, int | float) and scale == 1.0 else x * scale

    def log_gamma(self, shape: Any = None, concentration: Any = 1.0, dtype: Any = None, device: str | None = None) -> Tensor:
        """Return logarithms of gamma-distributed numbers of scale 1: as `gamma`, without underflow.

        >>> Generator(0).log_gamma((2,), 1e-3, dtype="float64")
        Tensor (2,) float64, cpu: [-4.019534e+03 -8.939868e-01]
        """
        whole, kind, place = self._settle(shape, dtype, device, "log_gamma", concentration=concentration)
        _refuse_complex(kind, "log_gamma")
        return astype(self._log_gamma(_concentration(whole, place, concentration, "log_gamma")), kind)

    def beta(self, shape: Any = None, a: Any = 1.0, b: Any = 1.0, dtype: Any = None, device: str | None = None) -> Tensor:
        """Return numbers of density x^(a - 1) (1 - x)^(b - 1), up to a factor, 0 < x < 1: x / (x + y) of two gamma variates.

        >>> Generator(0).beta((3,), 2.0, 3.0)
        Tensor (3,) float32, cpu: [0.277179 0.265269 0.309059]
        """
        whole, kind, place = self._settle(shape, dtype, device, "beta", a=a, b=b)
        _refuse_complex(kind, "beta")
        x, y = [self._log_gamma(c) for c in [_concentration(whole, place, c, "beta") for c in (a, b)]]
        top = Tensor(devices.namespace(x.data).maximum(x.data, y.data))
        x, y = exp(x - top), exp(y - top)
        return astype(x / (x + y), kind)

    def dirichlet(self, shape: Any = None, concentration: Any = None, dtype: Any = None, device: str | None = None) -> Tensor:
        """Return points of a simplex: the last axis is that of the concentration, and sums to 1.

        shape: of the result without that axis.

        >>> Generator(0).dirichlet((), [1.0, 2.0, 3.0])
        Tensor (3,) float32, cpu: [0.056011 0.071279 0.87271 ]
        """
        if concentration is None or as_tensor(concentration).ndim < 1:
            raise ShapeError("dirichlet(shape, concentration): concentration must be given, with a last axis of one number for each part")
        a = as_tensor(concentration)
        whole = a.shape if shape is None else (*_shape(shape, "dirichlet"), a.shape[-1])
        whole, kind, place = self._settle(whole, dtype, device, "dirichlet", concentration=a)
        _refuse_complex(kind, "dirichlet")
        x = self._log_gamma(_concentration(whole, place, a, "dirichlet"))
        x = exp(x - Tensor(x.data.max(axis=-1, keepdims=True)))
        return astype(x / summed(x, (*x.shape[:-1], 1)), kind)

    def _log_gamma(self, a: Tensor) -> Tensor:
        """Return the logarithm of gamma variates in float64, on a path that depends smoothly on the concentration."""
        values = a.data.reshape(-1)
        xp, draw = devices.namespace_of(a.device), self._next()
        with _on(a.device):
            drawn = rejection.by_blocks(
                xp, values.size, lambda first, n: rejection.log_gamma(xp, self._key, draw, first, values[first:first + n])
            ).reshape(a.shape)
        return log_gamma_sample(a, Tensor(drawn), a.detach()) if a.tracked else Tensor(drawn)

    def _real(
        self, make: Callable[[Any, Any], Any], shape: Any, dtype: Any, device: str | None, name: str, mean: Any, scale: Any
    ) -> Tensor:
        whole, kind, place = self._settle(shape, dtype, device, name, mean=mean, scale=scale)
        _refuse_complex(kind, name)
        return _located(self._fill(math.prod(whole), place, make).astype(kind).reshape(whole), mean, scale)

    def _settle(self, shape: Any, dtype: Any, device: str | None, name: str, **parameters: Any) -> tuple[tuple[int, ...], Any, str]:
        """Return shape, dtype and device of a draw, from what was asked for and from its parameters."""
        tensors = {key: as_tensor(x) for key, x in parameters.items() if not isinstance(x, int | float | complex)}
        whole = np.broadcast_shapes(*(x.shape for x in tensors.values())) if shape is None else _shape(shape, name)
        for key, x in tensors.items():
            _refuse_shape(x.shape, whole, name, key)
        inexact = [x.dtype for x in tensors.values() if is_inexact(x.dtype)]
        kind = as_dtype(dtype) if dtype is not None else result_dtype(inexact) if inexact else FLOAT
        if not is_inexact(kind):
            raise DtypeError(f"{name}(dtype): {kind} is not floating; use float16, bfloat16, float32 or float64")
        places = [x.device for x in tensors.values()]
        return whole, kind, device or (places[0] if places else "cpu")

    def _values(self, shape: Any, device: str | None, name: str, **parameters: Any) -> tuple[tuple[int, ...], str, Any]:
        """Return shape, device, and the one parameter as a flat array of float64 of that many elements."""
        (x,) = (_seen(as_tensor(x), name) for x in parameters.values())
        whole = x.shape if shape is None else _shape(shape, name)
        _refuse_shape(x.shape, whole, name, *parameters)
        place = device or x.device
        xp = devices.namespace_of(place)
        number = next(iter(parameters.values()))
        values = number if isinstance(number, float) else devices.to_device(x.data, place)      # a float not rounded to float32
        return whole, place, xp.ascontiguousarray(xp.broadcast_to(xp.asarray(values, dtype=xp.float64), whole)).reshape(-1)


def _noted(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that draws such that a recording (see jit) notes the call: its runs draw anew."""

    @functools.wraps(draw)
    def either(self: Generator, *args: Any, **kwargs: Any) -> Any:
        recorder = state.recorder
        return draw(self, *args, **kwargs) if recorder is None else recorder.draw(self, draw, args, kwargs)

    return either


# The methods that draw; the others say or set where a generator stands, or make further ones.
DRAWS = (
    "bits", "integers", "bernoulli", "rademacher", "permutation", "choice", "categorical", "poisson", "orthogonal", "uniform", "normal",
    "truncated_normal", "laplace", "exponential", "gumbel", "gamma", "log_gamma", "beta", "dirichlet",
)
for _name in DRAWS:
    setattr(Generator, _name, _noted(getattr(Generator, _name)))


def _concentration(whole: tuple[int, ...], device: str, concentration: Any, name: str) -> Tensor:
    """Return a concentration as float64 of the shape and on the device of a draw, or refuse it."""
    number = isinstance(concentration, int | float)         # not to be rounded to float32
    given = Tensor(np.asarray(concentration, np.float64)) if number else astype(as_tensor(concentration), np.float64)
    a = to_device(broadcast_to(_seen(given, name), whole), device)
    if not bool(((a.data > 0.0) & (a.data < np.inf)).all()):
        raise InputError(f"{name}(concentration): some value is 0, negative, infinite or NaN; it must be above 0 and finite")
    return a


def mark() -> "list[tuple[Generator, int]]":
    """Return where every generator stands, for `replay`: what a recomputation needs.

    >>> generator = Generator(0)
    >>> before = mark()
    >>> first = generator.normal(())
    >>> with replay(before):
    ...     again = generator.normal(())
    >>> first.item() == again.item()
    True
    """
    return [(generator, generator._count) for generator in list(alive)]      # pyright: ignore[reportPrivateUsage]


class replay:
    """A context in which generators draw again what they drew after `mark`; afterwards they go on where they were.

    >>> with replay(mark()):
    ...     pass
    """

    def __init__(self, marked: "Sequence[tuple[Generator, int]]") -> None:
        self.marked = marked
        self.now: Sequence[tuple[Generator, int]] = ()

    def __enter__(self) -> None:
        self.now = mark()
        go_to(self.marked)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        go_to(self.now)


def go_to(marked: "Sequence[tuple[Generator, int]]") -> None:
    """Bring generators to where `mark` found them."""
    for generator, count in marked:
        generator._count = count      # pyright: ignore[reportPrivateUsage]


def _on(device: str) -> Any:
    """Return a context in which new arrays of a GPU are made on the one that is meant."""
    if device == "cpu":
        return contextlib.nullcontext()
    return devices.namespace_of(device).cuda.Device(int(device.partition(":")[2]))


def _seen(x: Tensor, name: str) -> Tensor:
    """Return a parameter on whose value it depends how many words are taken, or refuse it inside vmap."""
    if isinstance(x, Batched):
        raise InputError(
            f"{name}: inside vmap the parameter differs from example to example, but its value decides how the numbers are drawn; draw for "
            "all examples at once, outside, and map over the result"
        )
    return x


def _unit(xp: Any, word: Any, mantissa: int) -> Any:
    return (word >> xp.uint64(64 - mantissa)).astype(xp.float64) * 2.0**-mantissa


def _located(z: Any, mean: Any, scale: Any) -> Tensor:
    plain = (int, float)
    if type(mean) in plain and type(scale) in plain and mean == 0.0 and scale == 1.0:
        return Tensor(z)
    return Tensor(z) * scale + mean


def _shape(shape: Any, name: str) -> tuple[int, ...]:
    whole = as_shape(shape, name)
    if min(whole, default=0) < 0:
        raise ShapeError(f"{name}(shape): shape={shape} has a negative length; all must be 0 or more")
    return whole


def _refuse_shape(part: tuple[int, ...], whole: tuple[int, ...], name: str, parameter: str) -> None:
    extra = len(whole) - len(part)
    if extra < 0 or any(n not in (1, m) for n, m in zip(part, whole[extra:], strict=True)):
        raise ShapeError(f"{name}: {parameter} has shape {part}, which does not broadcast to shape={whole}; shape is that of the result")


def _refuse_complex(kind: np.dtype[Any], name: str) -> None:
    if not is_floating(kind):
        raise DtypeError(f"{name}(dtype): {kind} is complex, which only normal and orthogonal draw; use a real dtype")


def _integer(value: Any, what: str) -> int:
    try:
        return value.__index__()
    except (AttributeError, TypeError) as error:
        raise InputError(f"{what}={value!r} must be a whole number") from error


def _whole(value: Any, what: str) -> int:
    number = _integer(value, what)
    if number < 0:
        raise InputError(f"{what}={value} must be 0 or more")
    return number


def _weights(probabilities: Any, n: int) -> Any:
    weights = devices.to_numpy(as_tensor(probabilities).data).astype(np.float64)
    if weights.shape != (n,):
        raise ShapeError(f"choice(probabilities): shape {weights.shape}, but there are {n} elements; give one weight for each")
    if not (np.isfinite(weights) & (weights >= 0.0)).all():
        raise InputError("choice(probabilities): some are negative, infinite or NaN; all must be 0 or more")
    return weights
