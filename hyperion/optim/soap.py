"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

from dataclasses import dataclass
from typing import Any

from hyperion.optim.rule import Rule, State, check, check_betas
from hyperion.optim.schedules import Schedule
from hyperion.optim.stepping import RuleOptimizer

__all__ = ["SOAP", "SOAPRule"]


@dataclass(frozen=True)
class SOAPRule(Rule):
    """SOAP for one parameter; see SOAP for the options and Rule for `init` and `update`."""

    lr: float | Schedule = 3e-3
    betas: tuple[float, float] = (0.95, 0.95)
    eps: float = 1e-8
    weight_decay: float | Schedule = 0.01
    every: int = 10
    largest: int = 10000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_betas(self)
        check(self, "eps", "must be above 0", lambda value: value > 0.0)
        check(self, "weight_decay", "must be at least 0", lambda value: value >= 0.0)
        for name in ("every", "largest"):
            check(self, name, "must be a whole number of at least 1", lambda value: isinstance(value, int) and value >= 1)

    def arrays(self, xp: Any, parameter: Any) -> State:
        state = {"mean": xp.zeros(parameter.shape, parameter.dtype), "square": xp.zeros(parameter.shape, parameter.dtype)}
        for axis in self._axes(parameter):
            size = parameter.shape[axis]
            state[f"covariance{axis}"] = xp.zeros((size, size), parameter.dtype)
            state[f"basis{axis}"] = xp.eye(size, dtype=parameter.dtype)
        return state

    def apply(self, xp: Any, parameter: Any, gradient: Any, state: State) -> Any:
        axes = self._axes(parameter)
        step = state["count"] - 1
        if step == 0:       # as in the authors' code: no update uses a basis made of its own gradient
            self._learn(xp, gradient, state, axes)
            for axis in axes:
                state[f"basis{axis}"] = xp.linalg.eigh(state[f"covariance{axis}"])[1][:, ::-1].copy()
            return parameter.copy()
        first, second = self.betas
        turned = _turn(xp, gradient, state, axes)
        state["mean"] = first * state["mean"] + (1.0 - first) * turned
        state["square"] = second * state["square"] + (1.0 - second) * turned * turned
        rate = self.lr * (1.0 - second**step) ** 0.5 / (1.0 - first**step)  # pyright: ignore[reportOperatorIssue]
        change = _turn_back(xp, state["mean"] / (xp.sqrt(state["square"]) + self.eps), state, axes)
        new = (parameter - rate * change) * (1.0 - self.lr * self.weight_decay)     # pyright: ignore[reportOperatorIssue]
        self._learn(xp, gradient, state, axes)
        if step % self.every == 0:
            self._follow(xp, state, axes)
        return xp.ascontiguousarray(new).reshape(parameter.shape)

    def _axes(self, parameter: Any) -> list[int]:
        """Return the axes that have a basis: none of a vector, else all that are not too long."""
        return [axis for axis, size in enumerate(parameter.shape) if size <= self.largest] if parameter.ndim > 1 and parameter.size else []

    def _learn(self, xp: Any, gradient: Any, state: State, axes: list[int]) -> None:
        """Move the running covariances of the gradient along each axis (L and R of the paper)."""
        second = self.betas[1]
        for axis in axes:
            rows = xp.moveaxis(gradient, axis, 0).reshape(gradient.shape[axis], -1)
            state[f"covariance{axis}"] = second * state[f"covariance{axis}"] + (1.0 - second) * (rows @ rows.T)

    def _follow(self, xp: Any, state: State, axes: list[int]) -> None:
        """Turn the bases to the eigenvectors of the covariances by one power iteration (algorithm 4), and the mean with them.

        Columns are sorted by their eigenvalues first, the mean of squares with them, as in the authors' code.
        """
        mean = _turn_back(xp, state["mean"], state, axes)
        for axis in axes:
            covariance, basis = state[f"covariance{axis}"], state[f"basis{axis}"]
            order = xp.argsort(-(basis * (covariance @ basis)).sum(axis=0), kind="stable")
            state["square"] = xp.take(state["square"], order, axis=axis)
            state[f"basis{axis}"] = xp.linalg.qr(covariance @ basis[:, order])[0]
        state["mean"] = _turn(xp, mean, state, axes)


def _turn(xp: Any, array: Any, state: State, axes: list[int]) -> Any:
    """Return an array in the eigenbases: each axis multiplied by the transposed basis."""
    for axis in axes:
        array = xp.moveaxis(xp.tensordot(state[f"basis{axis}"], array, axes=(0, axis)), 0, axis)
    return array


def _turn_back(xp: Any, array: Any, state: State, axes: list[int]) -> Any:
    for axis in axes:
        array = xp.moveaxis(xp.tensordot(state[f"basis{axis}"], array, axes=(1, axis)), 0, axis)
    return array


class SOAP(RuleOptimizer):
    """Minimise by SOAP: Adam on gradients turned into the eigenbases of their running covariances along each axis.

    parameters, bounds, check: see RuleOptimizer. lr: learning rate, or a schedule. betas: decay of Adam's means; the second is that of
    the covariances too. eps: added to the root. weight_decay: decoupled. every: steps between updates of the bases. largest: axes longer
    than this have no basis; vectors have none either, so there SOAP is AdamW.
    The first step only starts the bases and changes no parameter.
    Raises: InputError for options outside their ranges.
    Source: Vyas et al., SOAP: improving and stabilizing Shampoo using Adam (2024), algorithms 3 and 4, with Adam's bias corrections.

    >>> import numpy as np
    >>> optimizer = SOAP(np.ones((2, 2)), lr=0.1, weight_decay=0.0)
    >>> for _ in range(2):
    ...     _ = optimizer.advance(lambda x: (0.0, np.array([[1.0, 0.0], [0.0, 2.0]])))
    >>> optimizer.parameters
    array([[0.9, 1. ],
           [1. , 0.9]])
    """

    rule = SOAPRule

    def __init__(
        self,
        parameters: Any,
        lr: float | Schedule = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        weight_decay: float | Schedule = 0.01,
        every: int = 10,
        largest: int = 10000,
        *,
        bounds: tuple[Any, Any] | None = None,
        check: bool = True,
    ):
        super().__init__(parameters, SOAPRule(lr, betas, eps, weight_decay, every, largest), bounds, check)
