"""What acoustic equations of variable density share: their material, and its divergences and gradients along the axes there are."""
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from hyperion.pde.equation import Equation, Expression, Field, axes, derivative


class VariableDensity(Equation):
    """A pressure p on the nodes and a vector between them, along gradients of p: bulk modulus and buoyancy from speed and density.

    vector: letter of the vector's fields.
    """

    fields: dict[str, Field]
    parameters: ClassVar[dict[str, str]] = {"speed": "m/s", "density": "kg/m^3"}
    coefficients: ClassVar[dict[str, str]] = {"bulk": "Pa", "buoyancy": "m^3/kg"}
    harmonic: ClassVar[tuple[str, ...]] = ("buoyancy",)
    dimensions: tuple[int, ...]
    vector: ClassVar[str]

    def __init__(self, ndim: int = 2):
        self.axes, self.dimensions = axes(self, ndim), (ndim,)
        self.fields = self.declared({self.vector + i: (axis,) for i, axis in self.axes.items()})

    @abstractmethod
    def declared(self, places: Mapping[str, tuple[int, ...]]) -> dict[str, Field]:
        """Return the fields: p, and the vector's, which sit at these places."""

    @property
    def positive(self) -> tuple[str, ...]:
        """All parameters and coefficients."""
        return "speed", "density", "bulk", "buoyancy"

    def derive(self, speed: Any, density: Any) -> dict[str, Any]:
        """Return bulk modulus and buoyancy."""
        return {"bulk": density * speed ** 2, "buoyancy": 1.0 / density}

    def fastest(self, speed: Any, density: Any) -> Any:
        """Return the speed itself."""
        return np.broadcast_to(speed, density.shape)

    def divergence(self, p: Expression, vector: Mapping[str, Expression]) -> Expression:
        """Return that of the vector, where p is."""
        return sum((derivative(vector[self.vector + i], axis) for i, axis in self.axes.items()), start=0.0 * p)

    def gradient(self, p: Expression) -> dict[str, Expression]:
        """Return {name of the vector's field: the derivative of p along its axis}."""
        return {self.vector + i: derivative(p, axis) for i, axis in self.axes.items()}
