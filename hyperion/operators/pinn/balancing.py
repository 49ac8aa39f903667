"""What sets the weights of a PINN's loss while it is trained: of its terms, of slices of time, of single points."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor, trees
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.gpu import device as devices
from hyperion.nn.arguments import as_count, as_fraction

__all__ = ["NTK", "Balance", "CausalWeights", "GradientNorm", "ReLoBRaLo", "ResidualAttention"]

Residuals = Callable[[Any], Mapping[str, Tensor]]


class Balance(ABC):
    """Base of what weighs the terms of a loss sum_k weight_k L_k, L_k = the mean over points of the squared residual, summed over fields.

    every: steps from one computation of the weights to the next.  momentum: how much of the old weights stays, from 0 to 1.
    Attributes: weights, {term: number}, empty before the first update; steps.
    """

    def __init__(self, every: int, momentum: float):
        name = type(self).__name__
        self.every, self.momentum = as_count(every, f"{name}(every)"), as_fraction(momentum, f"{name}(momentum)")
        self.weights: dict[str, float] = {}
        self.steps = 0

    def __repr__(self) -> str:
        found = ", ".join(f"{name} {weight:.3g}" for name, weight in self.weights.items())
        return f"{type(self).__name__} {found or 'before the first step'}"

    @abstractmethod
    def propose(self, residuals: Residuals, parameters: Any) -> dict[str, float]:
        """Return new weights, without momentum."""

    def update(self, residuals: Residuals, parameters: Any) -> dict[str, float]:
        """Count a step, and every so many steps compute the weights; return them.

        residuals: function of the parameters that returns {term: residual, (points, ...)}, not weighted.  parameters: tree of Tensors.
        Raises: InputError if there are no terms or they have other names than before.
        """
        if self.steps % self.every == 0:
            found = self.propose(residuals, parameters)
            if not found or (self.weights and set(found) != set(self.weights)):
                raise InputError(f"{type(self).__name__}.update(residuals): gives the terms {sorted(found)}, weights are kept for "
                                 f"{sorted(self.weights)}; use one object for each loss")
            keep = self.momentum if self.weights else 0.0
            self.weights = {name: keep * self.weights.get(name, 0.0) + (1.0 - keep) * weight for name, weight in found.items()}
        self.steps += 1
        return dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next weights depend on, as numbers and arrays."""
        return {"steps": self.steps, "weights": dict(self.weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        needed = self.state_dict()
        if set(state) != set(needed):
            raise InputError(f"state: has {sorted(state)}, a {type(self).__name__} needs {sorted(needed)}")
        self.steps = int(state["steps"])
        self.weights = {name: float(weight) for name, weight in state["weights"].items()}


class GradientNorm(Balance):
    """Weights that give the gradients of all terms one length: the mean of the lengths over the term's own.

    A term whose gradient is 10^-5 of the mean or less gets no more than 10^5.
    Source: Wang, Sankaran, Wang and Perdikaris 2023, "An expert's guide to training PINNs", arXiv:2308.08468, algorithm 1 (with the mean
    for the sum: equal terms have weight 1); after Wang, Teng and Perdikaris 2021, arXiv:2001.04536.

    >>> x = hp.asarray([3.0], dtype="float64")
    >>> balance = GradientNorm()
    >>> weights = balance.update(lambda p: {"a": p, "b": 10.0 * p}, x)       # gradients of p^2 and 100 p^2
    >>> round(weights["a"] / weights["b"])
    100
    """

    def __init__(self, every: int = 100, momentum: float = 0.9):
        super().__init__(every, momentum)

    def propose(self, residuals: Residuals, parameters: Any) -> dict[str, float]:
        """Return the mean length of the gradients over each term's own."""
        values, pull = hp.vjp(lambda tree: dict(residuals(tree)), parameters)
        return _equalised({name: math.sqrt(_square(pull, values, name, (2.0 / r.shape[0]) * r)) for name, r in values.items()})


class NTK(Balance):
    """Weights that give all terms one rate of convergence: the mean of the NTK's diagonal over all terms, over the term's own.

    The kernel of a term is J J^T with J the Jacobian of its residual. Its trace is estimated by `probes` random vectors of signs v, as the
    mean of |J^T v|^2 (exactly, if the residual has no more entries than that).
    seed: of the signs.
    Source: Wang, Yu and Perdikaris 2022, J. Comput. Phys. 449, 110768 (arXiv:2007.14527), section 6.2; means over points as in
    arXiv:2308.08468, section 4.1; the estimate: Hutchinson 1990, Commun. Stat. Simul. Comput. 19, 433.

    >>> balance = NTK()
    >>> weights = balance.update(lambda p: {"a": p, "b": 10.0 * p}, hp.asarray([3.0], dtype="float64"))
    >>> round(weights["a"] / weights["b"])
    100
    """

    def __init__(self, every: int = 100, momentum: float = 0.9, probes: int = 16, seed: int = 0):
        super().__init__(every, momentum)
        self.probes = as_count(probes, "NTK(probes)")
        self._generator = Generator(seed)

    def propose(self, residuals: Residuals, parameters: Any) -> dict[str, float]:
        """Return the mean rate of the terms over each term's own."""
        values, pull = hp.vjp(lambda tree: dict(residuals(tree)), parameters)
        traces = {name: self._trace(pull, values, name) / r.shape[0] for name, r in values.items()}
        return _equalised(traces)

    def _trace(self, pull: Callable[..., Any], values: Mapping[str, Tensor], name: str) -> float:
        r = values[name]
        if r.size <= self.probes:
            units = np.eye(r.size)
            return sum(_square(pull, values, name, _like(unit, r)) for unit in units)
        signs = np.where(devices.to_numpy(self._generator.uniform((self.probes, r.size), -1.0, 1.0).data) < 0.0, -1.0, 1.0)
        return sum(_square(pull, values, name, _like(v, r)) for v in signs) / self.probes

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "generator": self._generator.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._generator.restore(dict(state["generator"]))


class ReLoBRaLo(Balance):
    """Weights from how much each term has fallen, against the last step or the first, drawn at random; no gradients are needed.

    temperature: small: almost all weight on the term that falls slowest; large: equal weights.  momentum: of the weights (alpha).
    memory: probability (beta) with which the weights continue, rather than look back to the first losses.  The weights sum to the number
    of terms. seed: of the draws.
    Source: Bischof and Kraus 2021, "Multi-objective loss balancing for physics-informed deep learning", arXiv:2110.09813, section 3.4.

    >>> balance = ReLoBRaLo()
    >>> balance.update(lambda p: {"a": p, "b": 10.0 * p}, hp.asarray([3.0]))
    {'a': 1.0, 'b': 1.0}
    """

    def __init__(self, every: int = 1, momentum: float = 0.999, memory: float = 0.999, temperature: float = 0.1, seed: int = 0):
        super().__init__(every, momentum)
        if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0.0 < temperature < math.inf:
            raise InputError(f"ReLoBRaLo(temperature={temperature!r}): must be a number above 0")
        self.memory, self.temperature = as_fraction(memory, "ReLoBRaLo(memory)"), float(temperature)
        self._generator = Generator(seed)
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def propose(self, residuals: Residuals, parameters: Any) -> dict[str, float]:
        """Return the weights by the fall since the last losses."""
        with hp.no_grad():
            losses = {name: float(hp.sum(r * r)) / r.shape[0] for name, r in residuals(parameters).items()}
        if not self._first:
            self._first = self._last = losses
            return dict.fromkeys(losses, 1.0)
        back = self._by_fall(losses, self._first)
        if float(self._generator.uniform(()).data) >= self.memory:
            self.weights = {name: back.get(name, weight) for name, weight in self.weights.items()}
        recent = self._by_fall(losses, self._last)
        self._last = losses
        return recent

    def _by_fall(self, losses: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
        falls = np.array([losses[name] / (self.temperature * max(before.get(name, 0.0), 1e-300)) for name in losses])
        powers = np.exp(falls - falls.max())
        return {name: float(len(losses) * p) for name, p in zip(losses, powers / powers.sum(), strict=True)}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "generator": self._generator.state(), "first": dict(self._first), "last": dict(self._last)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._generator.restore(dict(state["generator"]))
        self._first, self._last = ({k: float(v) for k, v in state[name].items()} for name in ("first", "last"))


class CausalWeights:
    """Weights of slices of time: a slice counts only when the residual of all earlier ones is small.

    start, end: of the time.  slices: how many, of one length.  tolerances: of epsilon, ascending; with each the next begins.
    threshold: when the smallest weight has exceeded it, `update` moves to the next tolerance.
    The loss is the mean over slices of w_i L_i, with L_i the mean square in slice i and w_i = exp(-epsilon * sum of L_k, k < i), held
    constant in the gradient. Without this a network may meet the equation at late times before it knows what state is to arrive there.
    Raises: InputError for times out of order, tolerances that are not positive and ascending, or a threshold outside 0 to 1.
    Source: Wang, Sankaran and Perdikaris 2024, Comput. Methods Appl. Mech. Eng. 421, 116813 (arXiv:2203.07404), algorithm 1.

    >>> causal = CausalWeights(0.0, 1.0, slices=2, tolerances=(1.0,))
    >>> loss = causal.loss(hp.asarray([2.0, 1.0], dtype="float64"), [0.1, 0.9])      # mean of 4 and exp(-4) * 1
    >>> round(float(loss), 4), round(causal.smallest, 4)
    (2.0092, 0.0183)
    """

    def __init__(
        self, start: float, end: float, slices: int = 32, tolerances: Sequence[float] = (1e-2, 1e-1, 1.0, 10.0, 100.0),
        threshold: float = 0.99,
    ):
        if not -math.inf < start < end < math.inf:
            raise InputError(f"CausalWeights(start={start!r}, end={end!r}): must be two times, the first before the second")
        given = tuple(float(value) for value in tolerances)
        if not given or given[0] <= 0.0 or any(not a < b < math.inf for a, b in itertools.pairwise(given)):
            raise InputError(f"CausalWeights(tolerances={tolerances!r}): must be numbers above 0, each larger than the one before")
        self.start, self.end, self.slices = float(start), float(end), as_count(slices, "CausalWeights(slices)")
        self.tolerances, self.threshold = given, as_fraction(threshold, "CausalWeights(threshold)")
        self.level = 0
        self.smallest = 0.0     # weight in the last loss

    def __repr__(self) -> str:
        return f"CausalWeights tolerance {self.tolerance:g}, smallest weight {self.smallest:.3g}"

    @property
    def tolerance(self) -> float:
        """The tolerance of now."""
        return self.tolerances[self.level]

    def loss(self, residual: Any, times: Any) -> Tensor:
        """Return the weighted mean square of a residual, (points, ...), at times, (points,)."""
        r = as_tensor(residual)
        t = np.asarray(devices.to_numpy(as_tensor(times).detach().data), np.float64)
        if r.ndim < 1 or t.shape != r.shape[:1] or not t.size:
            raise ShapeError(f"CausalWeights.loss(residual, times): residual has shape {r.shape}, times {t.shape}; they must be "
                             "(points, ...) and (points,)")
        place = np.clip(((t - self.start) / (self.end - self.start) * self.slices).astype(int), 0, self.slices - 1)
        counts = np.bincount(place, minlength=self.slices)
        filled = np.flatnonzero(counts)
        mean = (place == filled[:, None]) / counts[filled][:, None]                    # (slices, points)
        squares = hp.sum((r * r).reshape((r.shape[0], -1)), axis=1)
        parts = hp.matmul(_like(mean, r, mean.shape), squares)
        earlier = np.tril(np.ones((len(filled), len(filled))), -1)
        weights = hp.exp(-self.tolerance * hp.matmul(_like(earlier, r, earlier.shape), parts.detach()))
        self.smallest = float(weights.data.min())
        return hp.mean(weights * parts)

    def update(self) -> bool:
        """Move to the next tolerance if the smallest weight of the last loss exceeds the threshold; tell whether it did."""
        if self.smallest <= self.threshold or self.level + 1 == len(self.tolerances):
            return False
        self.level += 1
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the level and the smallest weight."""
        return {"level": self.level, "smallest": self.smallest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Raises: InputError if it has a level beyond the tolerances."""
        if not 0 <= int(state.get("level", -1)) < len(self.tolerances):
            raise InputError(f"state: level={state.get('level')!r} is none of the {len(self.tolerances)} tolerances")
        self.level, self.smallest = int(state["level"]), float(state["smallest"])


class ResidualAttention:
    """A weight for each of a fixed set of points: a running sum of its residual, as a fraction of the largest.

    decay: what stays of a weight in an update.  rate: what the point with the largest residual gets; no weight exceeds
    rate / (1 - decay) for long.
    start: all weights before the first update.
    Raises: InputError for a decay or rate outside 0 to 1.
    Source: Anagnostopoulos, Toscano, Stergiopulos and Karniadakis 2024, Comput. Methods Appl. Mech. Eng. 421, 116805 (arXiv:2307.00379),
    eq. 9.

    >>> attention = ResidualAttention(decay=0.5, rate=0.5)
    >>> attention.update({"equation": np.array([4.0, 1.0])})
    >>> attention.weights["equation"].tolist(), float(attention.loss("equation", hp.asarray([1.0, 2.0])))
    ([1.0, 0.625], 1.28125)
    """

    def __init__(self, decay: float = 0.999, rate: float = 0.01, start: float = 1.0):
        self.decay, self.rate = as_fraction(decay, "ResidualAttention(decay)"), as_fraction(rate, "ResidualAttention(rate)")
        if isinstance(start, bool) or not isinstance(start, int | float) or not 0.0 <= start < math.inf:
            raise InputError(f"ResidualAttention(start={start!r}): must be a number, 0 or more")
        self.start = float(start)
        self.weights: dict[str, np.ndarray] = {}

    def __repr__(self) -> str:
        return f"ResidualAttention of {', '.join(f'{len(w)} points of {name}' for name, w in self.weights.items()) or 'nothing yet'}"

    def update(self, residuals: Mapping[str, Any]) -> None:
        """Change the weights by {term: residual, (points, ...)}."""
        for name, residual in residuals.items():
            r = np.asarray(devices.to_numpy(as_tensor(residual).detach().data), np.float64)
            size = np.sqrt((r.reshape(len(r), -1) ** 2).sum(axis=1))
            before = self.weights.get(name, np.full(len(r), self.start))
            if len(before) != len(r):
                raise ShapeError(f"ResidualAttention.update: {name} has {len(r)} points, weights are kept for {len(before)}; the points "
                                 "must stay, or begin with a new ResidualAttention")
            self.weights[name] = self.decay * before + self.rate * size / (size.max() or 1.0)

    def loss(self, name: str, residual: Any) -> Tensor:
        """Return the mean over points of the squares of weight * residual, summed over fields."""
        r = as_tensor(residual)
        kept = self.weights.get(name)
        if kept is not None and len(kept) != r.shape[0]:
            raise ShapeError(f"ResidualAttention.loss: {name} has {r.shape[0]} points, weights are kept for {len(kept)}")
        weights = np.full(r.shape[0], self.start) if kept is None else kept
        weighted = r * _like(weights, r, (-1, *(1,) * (r.ndim - 1)))
        return hp.sum(weighted * weighted) * (1.0 / r.shape[0])

    def state_dict(self) -> dict[str, Any]:
        """Return the weights by term."""
        return {name: weights.copy() for name, weights in self.weights.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.weights = {name: np.array(weights, np.float64) for name, weights in state.items()}


def _like(values: np.ndarray, like: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """Return values as a constant of another Tensor's dtype, device and, unless given, shape."""
    return as_tensor(devices.to_device(values.astype(like.dtype).reshape(like.shape if shape is None else shape), like.device))


def _square(pull: Callable[..., Any], values: Mapping[str, Tensor], name: str, cotangent: Tensor) -> float:
    """Return |J^T cotangent|^2 for the Jacobian of one term."""
    tree, = pull({other: cotangent if other == name else hp.zeros_like(r) for other, r in values.items()})
    return sum(float((leaf.data.astype(np.float64) ** 2).sum()) for leaf in trees.flatten(tree)[0])


def _equalised(sizes: dict[str, float]) -> dict[str, float]:
    mean = sum(sizes.values()) / max(len(sizes), 1)
    return {name: mean / (size + 1e-5 * mean) if mean > 0.0 else 1.0 for name, size in sizes.items()}
