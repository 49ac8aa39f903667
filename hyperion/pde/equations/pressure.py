"""Acoustics of variable density, second order in time."""
from collections.abc import Mapping
from typing import ClassVar

from hyperion.pde.equation import Expression, Field

from .variable_density import VariableDensity


class AcousticPressure(VariableDensity):
    """p_tt = K div(grad p / density) + c^2 s, K = density c^2: pressure alone [Pa], in two or three dimensions.

    The physics of `AcousticVariableDensity` with one field to step; grad p / density, between the nodes, is given by p at every instant.
    A source s is a density as for `Acoustic`: where the density is constant the two are the same.
    Source: Morse and Ingard, Theoretical Acoustics (1968), eq. 6.2.15.

    >>> AcousticPressure(ndim=2).fields["az"].at
    (-2,)
    """

    vector: ClassVar[str] = "a"

    def declared(self, places: Mapping[str, tuple[int, ...]]) -> dict[str, Field]:
        """Return p, and what it gives."""
        return {"p": Field("Pa", time_order=2), **{f: Field("m/s^2", time_order=0, at=at) for f, at in places.items()}}

    def rate(self, p: Expression, bulk: Expression, buoyancy: Expression, **flux: Expression) -> dict[str, Expression]:
        """Return p_tt, and 0 = grad p / density - a."""
        return {"p": bulk * self.divergence(p, flux), **{f: buoyancy * slope - flux[f] for f, slope in self.gradient(p).items()}}

    def sources(self, bulk: Expression, buoyancy: Expression) -> dict[str, dict[str, Expression | float]]:
        """Return c^2 for p."""
        return {"p": {"p": bulk * buoyancy}}
