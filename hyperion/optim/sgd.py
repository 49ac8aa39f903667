"""Stochastic gradient descent, with momentum of either kind."""

from dataclasses import dataclass
from typing import Any

from hyperion.errors import InputError
from hyperion.optim.rule import ElementwiseRule, check
from hyperion.optim.schedules import Schedule
from hyperion.optim.stepping import RuleOptimizer

__all__ = ["SGD", "SGDRule"]


@dataclass(frozen=True)
class SGDRule(ElementwiseRule):
    """Gradient descent for one parameter; see SGD for the options and Rule for `init` and `update`."""

    lr: float | Schedule = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float | Schedule = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "momentum", "must be in [0, 1)", lambda value: 0.0 <= value < 1.0)
        check(self, "dampening", "must be in [0, 1]", lambda value: 0.0 <= value <= 1.0)
        check(self, "weight_decay", "must be at least 0", lambda value: value >= 0.0)
        if self.nesterov and (self.momentum == 0.0 or self.dampening != 0.0):
            raise InputError(f"nesterov=True with momentum={self.momentum!r}, dampening={self.dampening!r}: Nesterov's form needs momentum "
                             "above 0 and no dampening")

    @property
    def flags(self) -> tuple[Any, ...]:
        return self.momentum > 0.0, self.nesterov

    @property
    def remembered(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum > 0.0 else ()

    def numbers(self, count: int) -> tuple[float, ...]:
        taken = 1.0 if count == 1 else 1.0 - self.dampening
        return self.lr, self.weight_decay, self.momentum, taken             # pyright: ignore[reportReturnType]

    def formula(self, xp: Any, parameter: Any, gradient: Any, state: tuple[Any, ...], numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        lr, decay, momentum, taken = numbers
        gradient = gradient + decay * parameter
        if not state:
            return (parameter - lr * gradient,)
        velocity = momentum * state[0] + taken * gradient
        return parameter - lr * (gradient + momentum * velocity if self.nesterov else velocity), velocity


class SGD(RuleOptimizer):
    """Minimise by gradient descent: v = momentum v + (1 - dampening) g, x = x - lr v.

    parameters, bounds, check: see RuleOptimizer. lr: learning rate, or a schedule. momentum: how much of the velocity is kept.
    dampening: how much of the gradient is left out of it, but for the first step. weight_decay: times the parameter is added to the
    gradient. nesterov: step along g + momentum v.
    Raises: InputError for options outside their ranges.
    Source: Sutskever, Martens, Dahl and Hinton, On the importance of initialization and momentum in deep learning (ICML 2013), with lr
    outside the velocity, as PyTorch has it.

    >>> import numpy as np
    >>> optimizer = SGD(np.array([1.0, -2.0]), lr=0.25)
    >>> optimizer.advance(lambda x: (float(x @ x), 2.0 * x)), optimizer.parameters
    (5.0, array([ 0.5, -1. ]))
    """

    rule = SGDRule

    def __init__(
        self,
        parameters: Any,
        lr: float | Schedule = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float | Schedule = 0.0,
        nesterov: bool = False,
        *,
        bounds: tuple[Any, Any] | None = None,
        check: bool = True,
    ):
        super().__init__(parameters, SGDRule(lr, momentum, dampening, weight_decay, nesterov), bounds, check)
