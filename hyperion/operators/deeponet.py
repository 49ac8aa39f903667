"""Deep operator networks: what a function gives at any point, from its values at fixed sensors."""

from collections.abc import Callable, Sequence
from typing import Any

from hyperion import autograd as hp
from hyperion.autograd import Tensor, as_tensor
from hyperion.autograd.random import Generator
from hyperion.errors import InputError, ShapeError
from hyperion.nn.arguments import as_activation, as_count
from hyperion.nn.blocks import MLP
from hyperion.nn.module import Module, parameter

__all__ = ["DeepONet"]


class DeepONet(Module):
    """Return sums over k of branch_k(u) trunk_k(x), plus a bias: an operator's image of the function u at the points x.

    branch: sizes of the network of sensor values, [sensors, hidden..., p]; unstacked: one network gives all p coefficients of an output.
    trunk: sizes of the network of coordinates, [coordinates, hidden..., p]; an activation follows its last layer too.
    outputs: fields of the image; each has p coefficients and basis functions of its own: both sizes end in p * outputs.
    activation: any function of a Tensor.  bias: one number for each output, zero to begin with.
    Raises: InputError if the sizes do not end alike or `outputs` does not divide them; ShapeError for other sensors or coordinates.
    Source: Lu, Jin, Pang, Zhang and Karniadakis 2021, Nature Machine Intelligence 3, 218, eq. 2 (unstacked, with bias).

    >>> model = DeepONet([100, 40, 40], [2, 40, 40])
    >>> model(hp.ones((5, 100)), hp.ones((30, 2))).shape, model(hp.ones((5, 100)), hp.ones((5, 30, 2))).shape
    ((5, 30), (5, 30))
    """

    bias: Tensor | None

    def __init__(
        self, branch: Sequence[int], trunk: Sequence[int], outputs: int = 1, activation: Callable[..., Any] = hp.tanh, bias: bool = True,
        dtype: Any = None, generator: Generator | None = None,
    ) -> None:
        self.outputs = as_count(outputs, "DeepONet(outputs)")
        as_activation(activation, "DeepONet")
        self.branch = MLP(branch, activation, dtype=dtype, generator=generator)
        self.trunk = MLP(trunk, activation, dtype=dtype, generator=generator)
        if branch[-1] != trunk[-1] or branch[-1] % outputs:
            raise InputError(
                f"DeepONet: branch={list(branch)} and trunk={list(trunk)} must end in one number, a multiple of outputs={outputs}: their "
                "products are summed"
            )
        self.sensors, self.coordinates, self.activation = branch[0], trunk[0], activation
        self.bias = parameter(hp.zeros((outputs,), dtype=dtype)) if bias else None

    def forward(self, u: Any, x: Any) -> Tensor:
        """Return the image of functions at points.

        u: (functions, sensors).  x: (points, coordinates), the same for all functions, or (functions, points, coordinates).
        Returns: (functions, points), with `outputs` above 1 (functions, points, outputs).
        """
        u, x = as_tensor(u), as_tensor(x)
        if u.ndim != 2 or u.shape[1] != self.sensors:
            raise ShapeError(f"DeepONet(u, x): u has shape {u.shape}; it must be (functions, {self.sensors}), a value for each sensor")
        if x.ndim not in (2, 3) or x.shape[-1] != self.coordinates or (x.ndim == 3 and x.shape[0] != u.shape[0]):
            raise ShapeError(
                f"DeepONet(u, x): x has shape {x.shape}; it must be (points, {self.coordinates}) or ({u.shape[0]}, points, "
                f"{self.coordinates}), as u has {u.shape[0]} functions"
            )
        weights, basis = self.branch(u), self.activation(self.trunk(x))
        count = weights.shape[1] // self.outputs
        weights = weights.reshape((u.shape[0], self.outputs, count))
        basis = basis.reshape((*basis.shape[:-1], self.outputs, count))
        out = hp.einsum("foc,poc->fpo" if x.ndim == 2 else "foc,fpoc->fpo", weights, basis)
        out = out if self.bias is None else out + self.bias
        return out[..., 0] if self.outputs == 1 else out
