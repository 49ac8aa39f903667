"""Adam and AdamW: steps scaled by running means of the gradient and of its square."""

import math
from dataclasses import dataclass
from typing import Any

from hyperion.optim.rule import ElementwiseRule, check, check_betas
from hyperion.optim.schedules import Schedule
from hyperion.optim.stepping import RuleOptimizer

__all__ = ["Adam", "AdamRule", "AdamW", "AdamWRule"]


@dataclass(frozen=True)
class _Moments(ElementwiseRule):
    """What Adam and AdamW share: the two means, corrected for their start at zero."""

    lr: float | Schedule = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float | Schedule = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_betas(self)
        check(self, "eps", "must be above 0", lambda value: value > 0.0)
        check(self, "weight_decay", "must be at least 0", lambda value: value >= 0.0)

    @property
    def remembered(self) -> tuple[str, ...]:
        return ("mean", "square")

    def _constants(self, count: int, decay: float) -> tuple[float, ...]:
        first, second = self.betas
        rate = self.lr / (1.0 - first**count)                               # pyright: ignore[reportOperatorIssue]
        return first, 1.0 - first, second, 1.0 - second, rate, 1.0 / math.sqrt(1.0 - second**count), self.eps, decay


def _moved(xp: Any, parameter: Any, gradient: Any, state: tuple[Any, ...], numbers: tuple[Any, ...]) -> tuple[Any, ...]:
    """Algorithm 1 of Kingma and Ba, lines 9 to 14."""
    first, rest_of_first, second, rest_of_second, rate, scale, eps, _ = numbers
    mean = first * state[0] + rest_of_first * gradient
    square = second * state[1] + rest_of_second * (gradient * gradient)
    return parameter - rate * mean / (scale * xp.sqrt(square) + eps), mean, square


@dataclass(frozen=True)
class AdamRule(_Moments):
    """Adam for one parameter; see Adam for the options and Rule for `init` and `update`."""

    def numbers(self, count: int) -> tuple[float, ...]:
        return self._constants(count, self.weight_decay)                    # pyright: ignore[reportArgumentType]

    def formula(self, xp: Any, parameter: Any, gradient: Any, state: tuple[Any, ...], numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        return _moved(xp, parameter, gradient + numbers[-1] * parameter, state, numbers)


@dataclass(frozen=True)
class AdamWRule(_Moments):
    """AdamW for one parameter; see AdamW for the options and Rule for `init` and `update`."""

    weight_decay: float | Schedule = 0.01

    def numbers(self, count: int) -> tuple[float, ...]:
        return self._constants(count, 1.0 - self.lr * self.weight_decay)    # pyright: ignore[reportOperatorIssue]

    def formula(self, xp: Any, parameter: Any, gradient: Any, state: tuple[Any, ...], numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        return _moved(xp, numbers[-1] * parameter, gradient, state, numbers)


class Adam(RuleOptimizer):
    """Minimise by Adam.

    parameters, bounds, check: see RuleOptimizer. lr: learning rate, the size of a typical change of a parameter [unit of the parameters],
    or a schedule. betas: decay of the two means. eps: added to the root of the second. weight_decay: times the parameter is added to the
    gradient.
    Raises: InputError for options outside their ranges.
    Source: Kingma and Ba, Adam: a method for stochastic optimization (ICLR 2015), algorithm 1.

    >>> import hyperion as hp
    >>> x = hp.asarray([3.0, -2.0], requires_grad=True)
    >>> optimizer = Adam([x], lr=0.1)
    >>> for _ in range(200):
    ...     optimizer.zero_grad()
    ...     loss = hp.sum((x - 1.0) ** 2)
    ...     loss.backward()
    ...     _ = optimizer.step()
    >>> bool(abs(x.detach().numpy() - 1.0).max() < 0.01)
    True
    """

    rule = AdamRule

    def __init__(
        self,
        parameters: Any,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        bounds: tuple[Any, Any] | None = None,
        *,
        weight_decay: float | Schedule = 0.0,
        check: bool = True,
    ):
        super().__init__(parameters, AdamRule(lr, betas, eps, weight_decay), bounds, check)


class AdamW(RuleOptimizer):
    """Minimise by Adam with decoupled weight decay: each step first shrinks the parameters by the factor 1 - lr * weight_decay.

    The other options are Adam's.
    Source: Loshchilov and Hutter, Decoupled weight decay regularization (ICLR 2019), algorithm 2, with the decay times lr as in PyTorch.

    >>> import hyperion as hp
    >>> rule = AdamW.rule(lr=0.1, weight_decay=0.0)                       # the functional habit
    >>> parameters = {"w": hp.asarray([3.0, -2.0])}
    >>> state = rule.init(parameters)
    >>> gradients = hp.grad(lambda p: hp.sum(p["w"] ** 2))(parameters)
    >>> parameters, state = rule.update(gradients, state, parameters)
    >>> parameters["w"]
    Tensor (2,) float32, cpu: [ 2.9 -1.9]
    """

    rule = AdamWRule

    def __init__(
        self,
        parameters: Any,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | Schedule = 0.01,
        *,
        bounds: tuple[Any, Any] | None = None,
        check: bool = True,
    ):
        super().__init__(parameters, AdamWRule(lr, betas, eps, weight_decay), bounds, check)
