"""The Gray-Scott reaction: patterns of spots, stripes and waves."""
from typing import ClassVar

from hyperion.pde.equation import Equation, Expression, Field, laplace


class GrayScott(Equation):
    """w_t = diffusivity_u laplace(w) + (1 - w) v^2 - feed w, v_t = diffusivity_v laplace(v) + (1 - w) v^2 - (feed + kill) v.

    u = 1 - w is what is fed, w the part of it that has reacted, and v what it makes; all of no unit: concentrations over that of the feed.
    The reaction's own rate, 1/s, is the unit of feed and kill: `reaction`.
    For Solver: stepped by pde.SSPRK3() or RungeKutta4().
    Source: Gray and Scott 1984, Chem. Eng. Sci. 39, 1087; Pearson 1993, Science 261, 189, eq. 1 and 2 (reaction 1).

    >>> GrayScott().parameters["feed"]
    '1/s'
    """

    fields: ClassVar[dict[str, Field]] = {"w": Field("1"), "v": Field("1")}
    parameters: ClassVar[dict[str, str]] = {
        "diffusivity_u": "m^2/s", "diffusivity_v": "m^2/s", "reaction": "1/s", "feed": "1/s", "kill": "1/s",
    }

    def rate(self, w: Expression, v: Expression, diffusivity_u: Expression, diffusivity_v: Expression, reaction: Expression,
             feed: Expression, kill: Expression) -> dict[str, Expression]:
        """Return w_t and v_t."""
        made = reaction * v ** 2 - reaction * w * v ** 2
        return {"w": diffusivity_u * laplace(w) + made - feed * w, "v": diffusivity_v * laplace(v) + made - (feed + kill) * v}
