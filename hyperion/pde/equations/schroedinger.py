"""The nonlinear Schroedinger equation, as two real fields."""
from typing import ClassVar

from hyperion.pde.equation import Equation, Expression, Field, laplace


class Schroedinger(Equation):
    """i h_t + dispersion laplace(h) + focusing |h|^2 h = 0 for h = re + i im; focusing above 0 gathers waves into solitons.

    Source: Sulem and Sulem, The Nonlinear Schroedinger Equation (1999), eq. 1.1.1; the benchmark of Raissi et al. 2019, J. Comput. Phys.
    378, 686, section 3.1.1, has dispersion 0.5 and focusing 1.

    >>> rates = Schroedinger().rates(1)
    >>> len(rates["re"].terms), len(rates["im"].terms)
    (3, 3)
    """

    fields: ClassVar[dict[str, Field]] = {"re": Field("1"), "im": Field("1")}
    parameters: ClassVar[dict[str, str]] = {"dispersion": "m^2/s", "focusing": "1/s"}

    @property
    def positive(self) -> tuple[str, ...]:
        """Names of the parameters that must be positive: none."""
        return ()

    def rate(self, re: Expression, im: Expression, dispersion: Expression, focusing: Expression) -> dict[str, Expression]:
        """Return re_t and im_t: the parts of i (dispersion laplace(h) + focusing |h|^2 h)."""
        intensity = re ** 2 + im ** 2
        return {
            "re": -1.0 * (dispersion * laplace(im) + focusing * intensity * im),
            "im": dispersion * laplace(re) + focusing * intensity * re,
        }
