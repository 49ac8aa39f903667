"""Muon: momentum made orthogonal, for the matrices of hidden layers; AdamW for all other parameters."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from hyperion.errors import InputError
from hyperion.optim.adam import AdamWRule
from hyperion.optim.rule import Rule, State, check
from hyperion.optim.schedules import Schedule
from hyperion.optim.stepping import RuleOptimizer

__all__ = ["Muon", "MuonRule", "orthogonalized"]

QUINTIC = (3.4445, -4.7750, 2.0315)


@dataclass(frozen=True)
class MuonRule(Rule):
    """Muon for one parameter; see Muon for the options and Rule for `init` and `update`."""

    lr: float | Schedule = 0.02
    momentum: float = 0.95
    nesterov: bool = True
    weight_decay: float | Schedule = 0.0
    iterations: int = 5
    match_adam: bool = False
    matrices: bool = True
    rest: AdamWRule = field(default_factory=lambda: AdamWRule(lr=3e-4))

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "momentum", "must be in [0, 1)", lambda value: 0.0 <= value < 1.0)
        check(self, "weight_decay", "must be at least 0", lambda value: value >= 0.0)
        check(self, "iterations", "must be a whole number of at least 1", lambda value: isinstance(value, int) and value >= 1)
        if not isinstance(self.rest, AdamWRule):
            raise InputError(f"rest={self.rest!r}: must be AdamW's options, AdamW.rule(lr=...)")

    def at(self, step: int) -> Rule:
        made = super().at(step)
        rest = self.rest.at(step)
        if rest is self.rest:
            return made
        made = made if made is not self else dataclasses.replace(self)
        object.__setattr__(made, "rest", rest)
        return made

    def of(self, shape: tuple[int, ...]) -> Rule:
        return self if self.matrices and len(shape) >= 2 and math.prod(shape) > 0 else self.rest

    def arrays(self, xp: Any, parameter: Any) -> State:
        return {"velocity": xp.zeros(parameter.shape, parameter.dtype)}

    def apply(self, xp: Any, parameter: Any, gradient: Any, state: State) -> Any:
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity += gradient
        change = gradient + self.momentum * velocity if self.nesterov else velocity
        matrix = change.reshape(change.shape[0], -1)                        # (rows, columns); filters of a convolution are rows
        rows, columns = matrix.shape
        scale = 0.2 * math.sqrt(max(rows, columns)) if self.match_adam else math.sqrt(max(1.0, rows / columns))
        change = orthogonalized(xp, matrix, self.iterations).reshape(parameter.shape)
        return (1.0 - self.lr * self.weight_decay) * parameter - (self.lr * scale) * change     # pyright: ignore[reportOperatorIssue]


def orthogonalized(xp: Any, matrix: Any, iterations: int) -> Any:
    """Return a matrix with the same singular vectors and singular values near 1 (0.7 to 1.2), by a quintic Newton-Schulz iteration.

    It runs in the precision of the matrix, where the authors' code runs in bfloat16.
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / xp.maximum(xp.sqrt((x * x).sum()), 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if tall else x


class Muon(RuleOptimizer):
    """Minimise by Muon: parameters of two or more axes move along their momentum made orthogonal, all others by AdamW.

    parameters, bounds, check: see RuleOptimizer. Embeddings and the output layer are matrices too, but belong to AdamW: put them into a
    group with matrices=False.
    lr: learning rate of the matrices, or a schedule; a change of a matrix has about this root mean square times sqrt(1 / columns).
    momentum, nesterov: see SGD. weight_decay: decoupled, as in AdamW. iterations: of Newton-Schulz.
    match_adam: scale changes by 0.2 sqrt(max(rows, columns)) instead of sqrt(max(1, rows / columns)), so that AdamW's lr and decay fit.
    rest: options of all other parameters, AdamW.rule(lr=...).
    Raises: InputError for options outside their ranges.
    Source: Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024), algorithms 1 and 2; match_adam: Liu et al., Muon
    is scalable for LLM training (2025), equation 4.

    >>> import numpy as np
    >>> optimizer = Muon({"w": np.ones((2, 3)), "b": np.ones(3)}, lr=0.1, rest=AdamWRule(lr=0.01))
    >>> _ = optimizer.advance(lambda p: (0.0, {"w": np.array([[1.0, 0, 0], [0, 1.0, 0]]), "b": np.ones(3)}))
    >>> optimizer.parameters["b"].round(4)
    array([0.9899, 0.9899, 0.9899])
    """

    rule = MuonRule

    def __init__(
        self,
        parameters: Any,
        lr: float | Schedule = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float | Schedule = 0.0,
        iterations: int = 5,
        match_adam: bool = False,
        rest: AdamWRule | None = None,
        *,
        matrices: bool = True,
        bounds: tuple[Any, Any] | None = None,
        check: bool = True,
    ):
        rule = MuonRule(lr, momentum, nesterov, weight_decay, iterations, match_adam, matrices, rest or AdamWRule(lr=3e-4))
        super().__init__(parameters, rule, bounds, check)
