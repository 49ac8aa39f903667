"""Training of PINNs: points that are drawn anew or follow the residual, and the loop around any optimiser, full batch, resumable."""

import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hyperion import autograd as hp
from hyperion.autograd import Tensor
from hyperion.autograd.random import Generator
from hyperion.autograd.trees import flatten, unflatten
from hyperion.errors import InputError, NonFiniteError, SamplingWarning
from hyperion.gpu import device as devices
from hyperion.nn.arguments import as_count
from hyperion.operators.pinn.balancing import Balance, CausalWeights, ResidualAttention
from hyperion.operators.pinn.pinn import EQUATION, PINN
from hyperion.operators.pinn.samplers import LatinHypercube, ResidualDensity, ResidualRefinement, Sampler
from hyperion.optim.gaussnewton import GaussNewton
from hyperion.optim.levenberg import LevenbergMarquardt
from hyperion.optim.vector import VectorOptimizer

__all__ = ["PINNTrainer", "Points"]

LOOKED_AT = 4096        # points in one evaluation of the residual of a pool


class Points:
    """Batches of points for a PINN without end; iterating gives (batch,), as `nn.Trainer` takes it.

    sampler: LatinHypercube() by default.  every: steps after which points are drawn anew; 0: never.
    adaptive: None, ResidualDensity() or ResidualRefinement(): how the points of the equation follow the residual, each time.
    counts: points of each term, as in `PINN.batch`.
    Raises: InputError for fewer points of the equation than `pinn.fewest`, and for options that do not go together. Warns (SamplingWarning)
        if points that stay (every=0) give fewer residuals than numbers are trained.
    The state holds generator and points, so that a resumed training goes on with the same ones.

    >>> from hyperion import nn, pde
    >>> from hyperion.operators import PINN, Box, Initial
    >>> pinn = PINN(pde.Heat(), Box(x=(0, 1), t=(0, 1)), nn.MLP([2, 8, 1]), [Initial(u=1.0)], diffusivity=1.0)
    >>> points = Points(pinn, every=10, equation=64, initial=16)
    >>> batch, = next(points)
    >>> {name: rows["points"].shape for name, rows in batch.items()}
    {'equation': (64, 2), 'initial': (16, 2)}
    """

    def __init__(
        self, pinn: PINN, sampler: Sampler | None = None, every: int = 0,
        adaptive: ResidualDensity | ResidualRefinement | None = None, seed: int = 0, **counts: int,
    ):
        self.pinn, self.sampler, self.adaptive, self.counts = pinn, sampler or LatinHypercube(), adaptive, dict(counts)
        self.every = as_count(every, "Points(every)", 0)
        if adaptive is not None and not self.every:
            raise InputError("Points(adaptive=...): say after how many steps the points follow the residual: every=500")
        self.seed, self.steps, self.drawn = seed, 0, 0
        self._generator = Generator(seed)
        self.batch = pinn.batch(self.sampler, self._generator, **self.counts)
        self._first = len(self.batch[EQUATION]["points"])
        self._look_for_few()
        if isinstance(adaptive, ResidualDensity) and adaptive.pool < self._first:
            raise InputError(f"Points(adaptive=ResidualDensity(pool={adaptive.pool})): {self._first} points are to be chosen from it; "
                             "give a larger pool")
        if isinstance(adaptive, ResidualRefinement) and adaptive.most <= self._first:
            raise InputError(f"Points(adaptive=...): most={adaptive.most} leaves no room for points that join the first {self._first}; "
                             "give ResidualRefinement a larger most, or fewer points of the equation")

    def _look_for_few(self) -> None:
        """Refuse points that do not tell the equation; warn of points that stay and ask less than what is trained can give."""
        kind, trained = type(self.pinn.equation).__name__, sum(p.size for p in self.pinn.parameters())
        if self._first < self.pinn.fewest:
            variables = ", ".join(self.pinn.domain.names)
            raise InputError(f"Points(equation={self._first}): too few points for {kind} in {variables}: differences alone take "
                             f"{self.pinn.fewest} for its derivatives; give more, such as 3 for each of the {trained} trained numbers")
        if self.every:
            return
        with hp.no_grad():
            two = {name: {key: x[:2] for key, x in rows.items()} for name, rows in self.batch.items()}
            asked = sum(len(self.batch[name]["points"]) * r.shape[1] for name, r in self.pinn.residuals(two).items())
        if asked < trained:
            warnings.warn(f"Points: {asked} residuals at points that stay are too few for {trained} trained numbers: all of them can "
                          "vanish while the solution is wrong between the points; give more, or draw them anew: every=50",
                          SamplingWarning, stacklevel=3)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {len(next(iter(rows.values())))}" for name, rows in self.batch.items())
        return f"Points {sizes}, drawn {self.drawn} times"

    def __iter__(self) -> "Points":
        return self

    def __next__(self) -> tuple[dict[str, dict[str, Tensor]]]:
        if self.every and self.steps and self.steps % self.every == 0:
            self._draw()
        self.steps += 1
        return (self.batch,)

    def _draw(self) -> None:
        self.drawn += 1
        chosen = None
        if self.adaptive is not None:
            pool = self.pinn.domain.interior(self.adaptive.pool, self.sampler, self._generator)
            chosen = pool[self.adaptive.choose(self._residual(pool), self.counts[EQUATION], self._generator)]
            if isinstance(self.adaptive, ResidualRefinement):
                before = self.batch[EQUATION]["points"].to("cpu").numpy()
                own, added = before[:self._first], np.concatenate([before[self._first:], chosen])
                chosen = np.concatenate([own, added[-(self.adaptive.most - self._first):]])
        self.batch = self.pinn.batch(self.sampler, self._generator, chosen, **self.counts)

    def _residual(self, pool: np.ndarray) -> np.ndarray:
        """Return the size of the residual at points, over all fields."""
        with hp.no_grad():
            found = [self.pinn.residual(part).to("cpu").numpy() for part in np.array_split(pool, -(-len(pool) // LOOKED_AT))]
        size = np.sqrt((np.concatenate(found).astype(np.float64) ** 2).sum(axis=1))
        wrong = np.flatnonzero(~np.isfinite(size))
        if wrong.size:
            raise NonFiniteError(f"Points: the residual is {size[wrong[0]]} at {pool[wrong[0]].tolist()}; the training has diverged there")
        return size

    def state_dict(self) -> dict[str, Any]:
        """Return what the next batches depend on; `position` is what changes while training."""
        arrays = {name: {key: devices.to_numpy(x.data) for key, x in rows.items()} for name, rows in self.batch.items()}
        return {"sampler": repr(self.sampler), "every": self.every, "adaptive": repr(self.adaptive), "seed": self.seed, **self.counts,
                "position": {"steps": self.steps, "drawn": self.drawn, "generator": self._generator.state(), "batch": arrays}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Raises: InputError if it is one of other points."""
        now = self.state_dict()
        differ = [name for name in now if name != "position" and now[name] != state.get(name)]
        if differ:
            raise InputError(f"Points: the state was made with other {', '.join(differ)}; resume with the options it began with")
        position = state["position"]
        self.steps, self.drawn = int(position["steps"]), int(position["drawn"])
        self._generator.restore(dict(position["generator"]))
        self.batch = {name: {key: hp.asarray(x, device=self.batch[name][key].device) for key, x in rows.items()}
                      for name, rows in position["batch"].items()}


class PINNTrainer:
    """The loop around a PINN, any optimiser and its points: the whole batch in every step, in the network's own precision.

    optimizer: any of hyperion.optim, made with `pinn` or `pinn.parameters()`: Adam, SOAP, L-BFGS, SelfScaledBroyden, GaussNewton, ...
    points: Points.  balance: None, or a value that sets the weights of the terms (GradientNorm(), NTK(), ...).
    causal: None, or CausalWeights: the equation is to hold at early times first; for optimisers of one gradient a step (Adam, SOAP, Muon).
    attention: None, or ResidualAttention: points where the equation fails longest count most; for points that stay.
    `nn.Trainer(pinn, optimizer, lambda pinn, batch: pinn.loss(batch), points)` is the other way, for optimisers of one gradient a step.
    Attributes: steps, stalled (True when the optimiser found no better point twice in a row, with points that stay).

    >>> from hyperion import nn, optim, pde
    >>> from hyperion.operators import PINN, Box, Dirichlet
    >>> nn.seed(0)
    >>> pinn = PINN(pde.Poisson(), Box(x=(-1, 1)), nn.MLP([1, 8, 1], dtype="float64"), [Dirichlet(u=0.0, hard=True)], source=2.0)
    >>> trainer = PINNTrainer(pinn, optim.LBFGS(pinn), Points(pinn, equation=50))
    >>> for row in trainer.run(60):
    ...     pass
    >>> abs(float(pinn([[0.5]])) - 0.75) < 1e-3                             # 1 - x^2
    True
    """

    def __init__(
        self, pinn: PINN, optimizer: Any, points: Points, balance: Balance | None = None, causal: CausalWeights | None = None,
        attention: ResidualAttention | None = None,
    ):
        if not hasattr(optimizer, "advance"):
            raise InputError(f"PINNTrainer(optimizer): got a {type(optimizer).__name__}; give an optimiser of hyperion.optim")
        if not isinstance(points, Points):
            raise InputError(f"PINNTrainer(points): got a {type(points).__name__}; give Points(pinn, equation=2000)")
        kinds = (("balance", balance, Balance), ("causal", causal, CausalWeights), ("attention", attention, ResidualAttention))
        for name, value, kind in kinds:
            if value is not None and not isinstance(value, kind):
                raise InputError(f"PINNTrainer({name}={value!r}): give None or a {kind.__name__}, such as "
                                 f"{'NTK' if kind is Balance else kind.__name__}(...)")
        own, stepped = {id(p) for p in pinn.parameters()}, {id(p) for p in flatten(optimizer.parameters)[0]}
        if own != stepped:
            raise InputError(f"PINNTrainer(optimizer): steps {len(stepped)} Tensors, the PINN has {len(own)}, {len(own & stepped)} of them "
                             f"the same; make it with the PINN's own: {type(optimizer).__name__}(pinn)")
        if isinstance(optimizer, LevenbergMarquardt) and not isinstance(optimizer.parameters, PINN):
            raise InputError("PINNTrainer(optimizer): make it with the PINN itself, LevenbergMarquardt(pinn), not with its parameters")
        self._check_weights(optimizer, causal, attention, pinn, points)
        self.pinn, self.optimizer, self.points = pinn, optimizer, points
        self.balance, self.causal, self.attention = balance, causal, attention
        self.steps, self.stalled = 0, False
        self.weights: dict[str, float] = dict(pinn.weights)
        self._failed = 0
        self._drawn = points.drawn
        self._structure = flatten(pinn)[1]

    @staticmethod
    def _check_weights(optimizer: Any, causal: Any, attention: Any, pinn: PINN, points: Points) -> None:
        if causal is not None and attention is not None:
            raise InputError("PINNTrainer(causal=..., attention=...): give one of them")
        if causal is not None and "t" not in pinn.domain.names:
            raise InputError("PINNTrainer(causal=...): the equation has no time")
        if causal is not None:
            t = pinn.domain.names.index("t")
            if not (causal.start <= pinn.domain.lower[t] and pinn.domain.upper[t] <= causal.end):
                raise InputError(f"PINNTrainer(causal=...): its slices lie from {causal.start:g} to {causal.end:g}, the time of the "
                                 f"equation from {pinn.domain.lower[t]:g} to {pinn.domain.upper[t]:g}; give CausalWeights the equation's")
        if causal is not None and isinstance(optimizer, VectorOptimizer):
            raise InputError(f"PINNTrainer(causal=...): its weights change with every evaluation, and {type(optimizer).__name__} compares "
                             "several; use Adam, SOAP or Muon, or windows of time: TimeMarching")
        if attention is not None and isinstance(optimizer, GaussNewton | LevenbergMarquardt):
            raise InputError(f"PINNTrainer(attention=...): {type(optimizer).__name__} takes least squares of one weight a term; use Adam, "
                             "SOAP, Muon, LBFGS or SelfScaledBroyden")
        if attention is not None and points.every:
            raise InputError(f"PINNTrainer(attention=...): weights belong to points, which are drawn anew after {points.every} steps; use "
                             "Points(every=0)")

    def __repr__(self) -> str:
        return f"PINNTrainer at step {self.steps}, {self.pinn!r}, {self.points!r}"

    def _model(self, tree: Any) -> PINN:
        return unflatten(self._structure, flatten(tree)[0])

    def loss(self, tree: Any, batch: Any) -> Tensor:
        """Return the loss of a tree of parameters, such as the optimiser's."""
        model = self._model(tree)
        others, rows = {name: rows for name, rows in batch.items() if name != EQUATION}, batch[EQUATION]
        if self.causal is not None:
            inner = self.causal.loss(model.equation_residual(rows), rows["points"][:, self.pinn.domain.names.index("t")])
        elif self.attention is not None:
            inner = self.attention.loss(EQUATION, model.equation_residual(rows))
        else:
            return model.loss(batch, self.weights)
        return model.loss(others, self.weights) + self.weights[EQUATION] * inner

    def run(self, steps: int) -> Iterator[dict[str, float]]:
        """Make steps until `steps` were made in all, and yield of each: step, loss, seconds. Ends early when the optimiser is stalled."""
        steps = as_count(steps, "PINNTrainer.run(steps)", 0)
        while self.steps < steps and not self.stalled:
            yield self.step()

    def step(self) -> dict[str, float]:
        """Make one step."""
        began = time.perf_counter()
        batch, = next(self.points)
        if self.points.drawn != self._drawn:
            self._drawn = self.points.drawn
            self.optimizer.restart()
        if self.balance is not None:
            self._rebalance(self.balance, batch)
        if self.attention is not None:
            with hp.no_grad():
                self.attention.update({EQUATION: self.pinn.equation_residual(batch[EQUATION])})
            self.optimizer.restart()
        value = self._advance(batch)
        if self.causal is not None and self.causal.update():
            self.optimizer.restart()
        self.steps += 1
        self._failed = self._failed + 1 if self.optimizer.stalled else 0
        if self._failed == 1:
            self.optimizer.restart(forget=True)
        self.stalled = self._failed > 1 and not self.points.every
        return {"step": self.steps, "loss": float(value), "seconds": time.perf_counter() - began}

    def _advance(self, batch: Any) -> float:
        """Make one step of the optimiser in the terms that it takes; return the loss."""
        if isinstance(self.optimizer, GaussNewton):
            return 2.0 * self.optimizer.advance(lambda tree: self._model(tree).least_squares(batch, self.weights))
        if isinstance(self.optimizer, LevenbergMarquardt):
            return 2.0 * self.optimizer.advance(self.pinn.pointwise(batch, self.weights))
        return float(self.optimizer.advance(hp.value_and_grad(lambda tree: self.loss(tree, batch))))

    def _rebalance(self, balance: Balance, batch: Any) -> None:
        found = balance.update(lambda model: model.residuals(batch), self.pinn)
        new = {name: self.pinn.weights[name] * float(found.get(name, 1.0)) for name in self.weights}
        if new != self.weights:
            self.weights = new
            self.optimizer.restart()

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next steps depend on, as a tree of arrays, numbers and text."""
        return {
            "steps": self.steps, "stalled": self.stalled, "failed": self._failed, "weights": dict(self.weights),
            "model": {name: devices.to_numpy(x) for name, x in self.pinn.state_dict().items()},
            "optimizer": self.optimizer.state_dict(), "points": self.points.state_dict(),
            "balance": None if self.balance is None else self.balance.state_dict(),
            "causal": None if self.causal is None else self.causal.state_dict(),
            "attention": None if self.attention is None else self.attention.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next step is the one that followed it. Raises: InputError or FileError if it does not fit."""
        if not {"model", "optimizer", "points", "steps"} <= set(state):
            raise InputError("PINNTrainer.load_state_dict(state): this is no state of a PINNTrainer; give what state_dict() returned")
        for name in ("balance", "causal", "attention"):
            if (getattr(self, name) is None) != (state.get(name) is None):
                raise InputError(f"PINNTrainer.load_state_dict(state): it was made {'with' if getattr(self, name) is None else 'without'} "
                                 f"{name}=..., this trainer is the other way; resume with the options it began with")
        self.points.load_state_dict(state["points"])
        self.pinn.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("balance", "causal", "attention"):
            own, kept = getattr(self, name), state.get(name)
            if own is not None:
                own.load_state_dict(kept)
        self.steps, self.stalled, self._failed = int(state["steps"]), bool(state["stalled"]), int(state["failed"])
        self.weights = {name: float(w) for name, w in state["weights"].items()}
        self._drawn = self.points.drawn
