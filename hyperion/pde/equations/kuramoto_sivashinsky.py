"""The Kuramoto-Sivashinsky equation: chaos in one dimension."""
from typing import ClassVar

from hyperion.pde.equation import Equation, Expression, Field, derivative


class KuramotoSivashinsky(Equation):
    """u_t + steepening u u_x + growth u_xx + damping u_xxxx = 0: long waves grow, short ones are damped.

    Source: Kuramoto and Tsuzuki 1976, Prog. Theor. Phys. 55, 356; Sivashinsky 1977, Acta Astronaut. 4, 1177.

    >>> max(d.order for d in KuramotoSivashinsky().rates(1)["u"].derivatives())
    4
    """

    fields: ClassVar[dict[str, Field]] = {"u": Field("m/s")}
    parameters: ClassVar[dict[str, str]] = {"steepening": "1", "growth": "m^2/s", "damping": "m^4/s"}
    dimensions: ClassVar[tuple[int, ...]] = (1,)

    def rate(self, u: Expression, steepening: Expression, growth: Expression, damping: Expression) -> Expression:
        """Return u_t."""
        return -1.0 * (steepening * u * derivative(u, -1) + growth * derivative(u, -1, 2) + damping * derivative(u, -1, 4))
