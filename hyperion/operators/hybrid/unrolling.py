"""Time loops with a network in them: one step, many steps with bounded memory, the loss over them, and the pieces to train on."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.random import Generator
from hyperion.autograd.trees import flatten, flatten_like
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import device as devices
from hyperion.nn.arguments import as_count
from hyperion.nn.module import Module

__all__ = ["Corrected", "TrajectoryLoss", "Unrolls", "doubling", "rollout", "runge_kutta4"]

Step = Callable[[Any], Any]


class Corrected(Module):
    """One step of a solver, and what a network adds to it: s + scale * network(s), where s = step(state) or several steps of it.

    step: a function of the state, such as `solver.stepper(...)`; a Module's parameters (a learned coefficient) are trained too.
    network: a function of the state; gives a correction of its shape. A state may be a tree of fields; the correction then is one like it.
    scale: of a correction, in units of the state: the smaller, the
        closer to the solver alone the training begins.  substeps: steps of the solver for each correction.
    Raises: InputError for arguments that cannot be; ShapeError if the network's result is not like the state.
    Source: Um et al. 2020, "Solver-in-the-Loop", arXiv:2007.00016, eq. 5; Kochkov et al. 2021, arXiv:2102.01010, "learned correction".

    >>> from hyperion import nn
    >>> model = Corrected(lambda u: 0.5 * u, nn.Conv1d(1, 1, 3, padding="same", padding_mode="circular"), scale=0.1, substeps=2)
    >>> model(hp.ones((4, 1, 16))).shape
    (4, 1, 16)
    """

    def __init__(self, step: Step, network: Callable[..., Any], scale: float = 1.0, substeps: int = 1) -> None:
        for name, value in (("step", step), ("network", network)):
            if not callable(value):
                raise InputError(f"Corrected({name}): got a {type(value).__name__}; it must be a function of the state")
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not np.isfinite(scale):
            raise InputError(f"Corrected(scale={scale!r}): must be a finite number")
        self.step, self.network, self.scale = step, network, float(scale)
        self.substeps = as_count(substeps, "Corrected(substeps)")

    def forward(self, state: Any) -> Any:
        """Return the state after `substeps` steps of the solver and one correction."""
        for _ in range(self.substeps):
            state = self.step(state)
        correction = self.network(state)
        if (found := _shapes(correction)) != (needed := _shapes(state)):
            raise ShapeError(f"Corrected(network): it returned {found} for a state of {needed}; they must be equal")
        return _moved(state, self.scale, correction)


def runge_kutta4(rate: Step, interval: float, count: int = 1) -> Step:
    """Return the step of a loop that integrates state_t = rate(state) over an interval by the classical Runge-Kutta method of order 4.

    rate: a function of the state, a Tensor or a tree of them.  interval: of a step of the loop; it is divided into `count` equal ones.
    Raises: InputError for an interval that is not above 0.
    Source: Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I (1993), table II.1.2.

    >>> decay = runge_kutta4(lambda u: -u, 1.0, count=8)
    >>> round(float(decay(hp.asarray(1.0))), 5)
    0.36788
    """
    if not callable(rate) or isinstance(interval, bool) or not isinstance(interval, int | float) or not 0.0 < interval < np.inf:
        raise InputError(f"runge_kutta4(rate={rate!r}, interval={interval!r}): give a function of the state, and a time above 0")
    count = as_count(count, "runge_kutta4(count)")
    dt = interval / count

    def step(u: Any) -> Any:
        for _ in range(count):
            a = rate(u)
            b = rate(_moved(u, 0.5 * dt, a))
            c = rate(_moved(u, 0.5 * dt, b))
            d = rate(_moved(u, dt, c))
            u = _moved(u, dt / 6.0, hp.tree_map(lambda a, b, c, d: a + 2.0 * (b + c) + d, a, b, c, d))
        return u

    return step


def rollout(step: Step, state: Any, steps: int, every: int = 1, stretch: int | None = 1) -> Any:
    """Return the states after every, 2 every, ... steps: (batch, steps / every, ...) for a state (batch, ...).

    step: a function of a state that returns the next.  state: a Tensor, or a tree of them (each with the batch first), as the result then.
    stretch: steps that keep only the state they start from when a derivative is wanted, and are run again for it: memory for
        steps / stretch states and the inside of `stretch` steps, at the cost of a second run. None keeps everything.
    Derivatives of every order reach the state, and all that `step` uses: weights, viscosities. A blow-up gives values that are not finite.
    Raises: InputError unless `every` divides `steps`; ShapeError, with the number of the step, if it changes shape or dtype of the state.
    Source: Um et al. 2020, arXiv:2007.00016, section 3; checkpoints: Chen et al. 2016, arXiv:1604.06174.

    >>> rollout(lambda u: 0.5 * u, hp.ones((3, 1, 16)), steps=6, every=2)[0, :, 0, 0]
    Tensor (3,) float32, cpu: [0.25     0.0625   0.015625]
    """
    if not callable(step):
        raise InputError(f"rollout(step): got a {type(step).__name__}; give a function of a state that returns the next one")
    steps, every = as_count(steps, "rollout(steps)"), as_count(every, "rollout(every)")
    if steps % every:
        raise InputError(f"rollout(steps={steps}, every={every}): every must divide steps, so that the last state is the last one saved")
    length = every if stretch is None else min(every, as_count(stretch, "rollout(stretch)"))
    state = hp.tree_map(as_tensor, state)
    like = _kinds(state)

    def several(x: Any, start: int, count: int) -> Any:
        for number in range(start + 1, start + count + 1):
            x = step(x)
            if (found := _kinds(x)) != like:
                raise ShapeError(f"rollout(step): step {number} of {steps} turned a state of {like} into one of {found}; "
                                 "a step must keep them")
        return x

    run = several if stretch is None else hp.checkpoint(several)
    saved: list[Any] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for done in range(0, steps, every):
            for start in range(0, every, length):
                state = run(state, done + start, min(length, every - start))
            saved.append(state)
    return hp.tree_map(lambda *states: hp.stack(states, axis=1), *saved)


def _kinds(state: Any) -> Any:
    return hp.tree_map(lambda x: f"shape {x.shape}, {x.dtype}" if hasattr(x, "dtype") else f"a {type(x).__name__}", state)


def _shapes(state: Any) -> Any:
    return hp.tree_map(lambda x: f"shape {x.shape}" if hasattr(x, "shape") else f"a {type(x).__name__}", state)


def _moved(state: Any, factor: float, change: Any) -> Any:
    """Return state + factor * change, of trees field by field."""
    return hp.tree_map(lambda x, d: x + factor * d, state, change)


class TrajectoryLoss:
    """The loss of a hybrid over trajectories: the mean of a measure over the states of a rollout.

    measure(prediction, target): a scalar for states (examples, ...), such as `nn.mse` or `nn.relative_l2`; of a tree of fields the mean
        over the fields.
    free: steps before the loss that count neither in it nor in its gradient: with 1 or more this is the pushforward trick, which trains on
        the states the model itself runs into at the price of one step's gradient.  stretch: as in `rollout`.
    Called by nn.Trainer as loss(model, start, targets): start (batch, ...), targets (batch, steps, ...) of the steps that follow, or trees
    of such.
    Raises: ShapeError, TreeError if the targets do not belong to the start, or there are no more than `free` of them.
    Source: Um et al. 2020, arXiv:2007.00016, eq. 5; pushforward: Brandstetter et al. 2022, arXiv:2202.03376, section 3.1.

    >>> from hyperion import nn
    >>> TrajectoryLoss(nn.mse)(lambda u: 0.5 * u, hp.ones((2, 1, 8)), hp.zeros((2, 2, 1, 8)))
    Tensor () float32, cpu: 0.15625
    """

    def __init__(self, measure: Callable[..., Any], free: int = 0, stretch: int | None = 1) -> None:
        if not callable(measure):
            raise InputError(f"TrajectoryLoss(measure): got a {type(measure).__name__}; it must be a function, such as nn.mse")
        self.measure, self.free = measure, as_count(free, "TrajectoryLoss(free)", 0)
        self.stretch = None if stretch is None else as_count(stretch, "TrajectoryLoss(stretch)")

    def __call__(self, model: Step, start: Any, targets: Any) -> Tensor:
        start, targets = hp.tree_map(as_tensor, start), hp.tree_map(as_tensor, targets)
        first, structure = flatten(start)
        ahead = flatten_like(structure, targets, "TrajectoryLoss: targets")
        times = {y.shape[1] for y in ahead if y.ndim > 1}
        if len(times) != 1 or any(y.shape[:1] + y.shape[2:] != x.shape for x, y in zip(first, ahead, strict=True)):
            raise ShapeError(f"TrajectoryLoss: start has {_shapes(start)}, targets {_shapes(targets)}; they must be (batch, ...) and "
                             "(batch, steps, ...), of trees in each field")
        count = times.pop() - self.free
        if count < 1:
            raise ShapeError(f"TrajectoryLoss(free={self.free}): there are {count + self.free} target states; it needs at least "
                             f"{self.free + 1}")
        if self.free:
            with hp.no_grad():
                start = hp.tree_map(lambda x: x[:, 0], rollout(model, start, self.free, self.free))
            start = hp.tree_map(hp.stop_gradient, start)
        found = flatten_like(structure, rollout(model, start, count, stretch=self.stretch), "TrajectoryLoss: the model's state")
        pairs = zip(found, (y[:, self.free:] for y in ahead), strict=True)
        each = [self.measure(*(x.reshape((-1, *x.shape[2:])) for x in pair)) for pair in pairs]
        return each[0] if len(each) == 1 else hp.mean(hp.stack(each))


def doubling(last: int, every: int, first: int = 1) -> dict[int, int]:
    """Return a curriculum for `Unrolls`: lengths first, 2 first, 4 first, ... up to `last`, each for `every` batches.

    Source: of growing lengths: Kochkov et al. 2021, arXiv:2102.01010; Lam et al. 2022, arXiv:2212.12794, section 4.4.

    >>> doubling(12, every=100)
    {0: 1, 100: 2, 200: 4, 300: 8, 400: 12}
    """
    last, every, length = as_count(last, "doubling(last)"), as_count(every, "doubling(every)"), as_count(first, "doubling(first)")
    if length > last:
        raise InputError(f"doubling(first={first}, last={last}): first must not be above last")
    stages: dict[int, int] = {}
    while length < last:
        stages[every * len(stages)] = length
        length *= 2
    return {**stages, every * len(stages): last}


class Unrolls:
    """An endless stream of pieces of trajectories for nn.Trainer: batches (start, targets) from random samples and times.

    trajectories: array (samples, times, ...), at the times of the model's steps, or a tree of such.  size: pieces in a batch.
    steps: length of the targets: a number, or a curriculum {number of the batch from which: length}, such as `doubling(32, every=100)`.
    seed: of the choice, which belongs to the number of the batch: a training that is resumed sees what it would have seen.
    `position` is the number of batches given; `state_dict()` and `load_state_dict(state)` keep and restore it.
    Raises: ShapeError if there are too few times for the longest piece; InputError that names the first sample with NaN or infinity.

    >>> pieces = Unrolls(np.zeros((5, 33, 1, 16), np.float32), size=2, steps={0: 1, 100: 8})
    >>> [x.shape for x in next(pieces)]
    [(2, 1, 16), (2, 1, 1, 16)]
    >>> pieces
    Unrolls of 5 trajectories of 33 times, 2 a batch, steps {0: 1, 100: 8}, at batch 1, cpu
    """

    def __init__(self, trajectories: Any, size: int, steps: int | Mapping[int, int] = 1, *, seed: int = 0, device: str = "cpu"):
        self.trajectories, self.device = hp.tree_map(as_array, trajectories), device
        fields = flatten(self.trajectories)[0]
        self._counts = _samples_and_times(fields)
        self.size, self.seed = as_count(size, "Unrolls(size)"), as_count(seed, "Unrolls(seed)", 0)
        self.steps = _curriculum(steps)
        if max(self.steps.values()) >= self._counts[1]:
            raise ShapeError(f"Unrolls(steps={steps!r}): a piece of {max(self.steps.values())} steps has one state more; the trajectories "
                             f"have {self._counts[1]} times: make longer ones, or unroll fewer steps")
        for values in fields:
            refuse_samples(values, "Unrolls(trajectories)")
        devices.check(device)
        self.position, self._generator = 0, Generator(self.seed)

    def __repr__(self) -> str:
        samples, times = self._counts
        return (f"Unrolls of {samples} trajectories of {times} times, {self.size} a batch, steps {self.steps}, at batch {self.position}, "
                f"{self.device}")

    def __iter__(self) -> "Unrolls":
        return self

    def __next__(self) -> tuple[Any, Any]:
        length = self.length(self.position)
        samples, times = self._counts
        generator = self._generator.at(self.position)
        which = generator.integers((self.size,), 0, samples).numpy()
        start = generator.integers((self.size,), 0, times - length).numpy()
        pieces = hp.tree_map(lambda values: values[which[:, None], start[:, None] + np.arange(length + 1)], self.trajectories)
        self.position += 1

        def part(where: Any) -> Any:
            return hp.tree_map(lambda x: Tensor(devices.to_device(np.ascontiguousarray(x[:, where]), self.device)), pieces)

        return part(0), part(slice(1, None))

    def length(self, number: int) -> int:
        """Return the length of the targets of a batch.

        >>> Unrolls(np.zeros((5, 33, 1, 16)), size=2, steps=doubling(32, every=10)).length(25)
        4
        """
        return self.steps[max(start for start in self.steps if start <= number)]

    def state_dict(self) -> dict[str, Any]:
        """Return the position, and what the choice depends on."""
        return {"position": self.position, "size": self.size, "seed": self.seed, "steps": str(self.steps),
                "trajectories": str(hp.tree_map(lambda values: str(values.shape), self.trajectories))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the position of a state. Raises: InputError, which says what differs, if it is of other pieces."""
        own = self.state_dict()
        differ = [f"{key} was {state.get(key)!r}, is {own[key]!r}" for key in own if key != "position" and state.get(key) != own[key]]
        if differ:
            raise InputError(f"Unrolls.load_state_dict: the state is of other pieces: {'; '.join(differ)}; make them as they were")
        self.position = int(state["position"])


def as_array(values: Any) -> np.ndarray:
    """Return a Tensor or an array as a NumPy array."""
    return values.numpy() if isinstance(values, Tensor) else np.asarray(values)


def refuse_samples(values: np.ndarray, what: str) -> None:
    """Raise InputError that names the first sample, along the first axis, with NaN or infinity."""
    bad = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
    if bad.size:
        raise InputError(f"{what}: sample {bad[0]} has values that are not finite ({bad.size} of {len(values)} samples); leave them out")


def _samples_and_times(fields: list[np.ndarray]) -> tuple[int, int]:
    """Return how many samples and times all fields of trajectories have."""
    for values in fields:
        if values.ndim < 3 or not values.size:
            raise ShapeError(f"Unrolls(trajectories of shape {values.shape}): they must be (samples, times, ...) with something in it")
        if values.dtype.kind != "f":
            raise DtypeError(f"Unrolls(trajectories): they are {values.dtype}; give floating-point numbers")
    counts = {values.shape[:2] for values in fields}
    if len(counts) != 1:
        raise ShapeError(f"Unrolls(trajectories): fields have {', '.join(map(str, sorted(counts)))} samples and times; they must agree")
    return counts.pop()


def _curriculum(steps: Any) -> dict[int, int]:
    if not isinstance(steps, Mapping):
        return {0: as_count(steps, "Unrolls(steps)")}
    stages = {as_count(start, "Unrolls(steps): a batch number", 0): as_count(length, "Unrolls(steps): a length")
              for start, length in steps.items()}
    if 0 not in stages:
        raise InputError(f"Unrolls(steps={steps!r}): a curriculum says from which batch on which length holds; it must begin with batch 0")
    return dict(sorted(stages.items()))
