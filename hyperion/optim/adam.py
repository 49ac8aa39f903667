"""Adam: steps scaled by running means of the gradient and of its square."""

from typing import Any

from hyperion.errors import InputError
from hyperion.gpu import device
from hyperion.optim.optimizer import Evaluate, Optimizer, finite_or_refuse

__all__ = ["Adam"]


class Adam(Optimizer):
    """Minimise by Adam, projected onto bounds.

    parameters: tree of Tensors or arrays. lr: learning rate, the size of a typical change of a parameter [unit of the parameters]; may be
    changed between steps. betas: decay of the two means. eps: added to the root of the second. bounds: see Optimizer; each update is
    clipped to them.
    Raises: InputError for rates outside their ranges.
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

    def __init__(
        self,
        parameters: Any,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        bounds: tuple[Any, Any] | None = None,
    ):
        super().__init__(parameters, bounds)
        if not lr > 0.0:
            raise InputError(f"lr={lr!r}: the learning rate must be above 0")
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise InputError(f"betas={betas!r}: must be two numbers in [0, 1)")
        if not eps > 0.0:
            raise InputError(f"eps={eps!r}: must be above 0")
        self.lr, self.betas, self.eps = lr, betas, eps
        self._count = 0
        self._mean = self._xp.zeros_like(self._vector)
        self._square = self._xp.zeros_like(self._vector)

    def _step_on_present(self) -> None:
        self._update(self._gradient_of_leaves())
        self._write(self._vector)

    def _iterate(self, evaluate: Evaluate) -> float:
        value, gradient = evaluate(self._vector)
        finite_or_refuse(value, "Adam")
        self._update(gradient)
        return value

    def _update(self, gradient: Any) -> None:
        first, second = self.betas
        self._count += 1
        self._mean = first * self._mean + (1.0 - first) * gradient
        self._square = second * self._square + (1.0 - second) * gradient * gradient
        mean = self._mean / (1.0 - first**self._count)
        square = self._square / (1.0 - second**self._count)
        self._vector = self._clip(self._vector - self.lr * mean / (self._xp.sqrt(square) + self.eps))

    def restart(self, forget: bool = False) -> None:
        if forget:
            self._count = 0
            self._mean, self._square = self._xp.zeros_like(self._vector), self._xp.zeros_like(self._vector)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self._count, "lr": self.lr, "mean": device.to_numpy(self._mean), "square": device.to_numpy(self._square)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._count, self.lr = int(state["count"]), float(state["lr"])
        self._mean = self._load("mean", state)
        self._square = self._load("square", state)
