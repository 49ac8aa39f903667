"""RMSProp: steps scaled by a running mean of the square of the gradient."""

from dataclasses import dataclass
from typing import Any

from hyperion.optim.rule import ElementwiseRule, check
from hyperion.optim.schedules import Schedule
from hyperion.optim.stepping import RuleOptimizer

__all__ = ["RMSProp", "RMSPropRule"]


@dataclass(frozen=True)
class RMSPropRule(ElementwiseRule):
    """RMSProp for one parameter; see RMSProp for the options and Rule for `init` and `update`."""

    lr: float | Schedule = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float | Schedule = 0.0
    momentum: float = 0.0
    centered: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "alpha", "must be in [0, 1)", lambda value: 0.0 <= value < 1.0)
        check(self, "eps", "must be above 0", lambda value: value > 0.0)
        check(self, "weight_decay", "must be at least 0", lambda value: value >= 0.0)
        check(self, "momentum", "must be in [0, 1)", lambda value: 0.0 <= value < 1.0)

    @property
    def flags(self) -> tuple[Any, ...]:
        return self.centered, self.momentum > 0.0

    @property
    def remembered(self) -> tuple[str, ...]:
        return ("square", *(["mean"] if self.centered else []), *(["velocity"] if self.momentum > 0.0 else []))

    def numbers(self, count: int) -> tuple[float, ...]:
        return self.lr, self.alpha, 1.0 - self.alpha, self.eps, self.weight_decay, self.momentum    # pyright: ignore[reportReturnType]

    def formula(self, xp: Any, parameter: Any, gradient: Any, state: tuple[Any, ...], numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        lr, alpha, rest, eps, decay, momentum = numbers
        gradient = gradient + decay * parameter
        square = alpha * state[0] + rest * (gradient * gradient)
        new = [square]
        spread = square
        if self.centered:
            mean = alpha * state[1] + rest * gradient
            spread = xp.maximum(square - mean * mean, 0.0)      # rounding may make a constant gradient's spread negative
            new.append(mean)
        change = gradient / (xp.sqrt(spread) + eps)
        if self.momentum > 0.0:
            change = momentum * state[-1] + change
            new.append(change)
        return parameter - lr * change, *new


class RMSProp(RuleOptimizer):
    """Minimise by RMSProp: the gradient is divided by the root of the running mean of its square.

    parameters, bounds, check: see RuleOptimizer. lr: learning rate, or a schedule. alpha: decay of the mean. eps: added to the root.
    weight_decay: times the parameter is added to the gradient. momentum: how much of the last change is kept. centered: divide by the
    standard deviation of the gradient instead.
    Raises: InputError for options outside their ranges.
    Source: Tieleman and Hinton, Neural networks for machine learning, lecture 6.5 (2012); centred: Graves, Generating sequences with
    recurrent neural networks (2013), equations 38 to 41, with eps outside the root as PyTorch has it.

    >>> import numpy as np
    >>> optimizer = RMSProp(np.array([1.0, -2.0]), lr=0.1, alpha=0.0)
    >>> _ = optimizer.advance(lambda x: (float(x @ x), 2.0 * x))
    >>> optimizer.parameters.round(6)
    array([ 0.9, -1.9])
    """

    rule = RMSPropRule

    def __init__(
        self,
        parameters: Any,
        lr: float | Schedule = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float | Schedule = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        bounds: tuple[Any, Any] | None = None,
        check: bool = True,
    ):
        super().__init__(parameters, RMSPropRule(lr, alpha, eps, weight_decay, momentum, centered), bounds, check)
