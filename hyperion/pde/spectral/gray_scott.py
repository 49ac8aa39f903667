"""Gray and Scott's reaction and diffusion on the torus."""
from typing import Any

import numpy as np

from hyperion.autograd import Tensor, stack
from hyperion.autograd.ops.fft import irfftn, rfftn
from hyperion.errors import InputError

from .integrators import Stepping, constant, steps_between
from .marching import check_times, coefficient, initial_state, march
from .torus import Torus


class GrayScottSolver:
    """u_t = Du Laplace u - u v^2 + F (1 - u), v_t = Dv Laplace v + u v^2 - (F + k) v on a periodic box of 1 to 3 axes.

    Pseudo-spectral; the cubic term is free of aliasing (modes below a quarter of the points). stepping: ETDRK4 or CrankNicolson.
    Source: Pearson, Science 261 (1993), 189, eq. 2; Kassam and Trefethen (2005) for the stepping.

    >>> from hyperion.pde import ETDRK4
    >>> solver = GrayScottSolver(Torus((16, 16), 2.5), ETDRK4(step=1.0))
    >>> start = np.stack([np.ones((16, 16)), np.zeros((16, 16))])
    >>> bool(np.allclose(solver.solve(start, 10.0, diffusion=(2e-5, 1e-5), feed=0.04, kill=0.06)[0], start))
    True
    """

    def __init__(self, torus: Torus, stepping: Stepping):
        if not isinstance(torus, Torus):
            raise InputError(f"GrayScottSolver(torus={torus!r}): give a Torus")
        if not isinstance(stepping, Stepping):
            raise InputError(f"GrayScottSolver(stepping={stepping!r}): give ETDRK4(step) or CrankNicolson(step)")
        self.torus, self.stepping = torus, stepping

    def __repr__(self) -> str:
        return f"GrayScottSolver {self.stepping!r}, {self.torus!r}"

    def solve(self, start: Any, duration: float, *, diffusion: tuple[Any, Any], feed: Any, kill: Any, saves: int = 1) -> Tensor:
        """Return (u, v) at `saves` equally spaced times, the last one `duration`: shape (..., saves, 2, *torus.shape).

        start: (..., 2, *torus.shape), float32 or float64. diffusion: of u and v [length^2 / time]. feed, kill: F and k [1 / time].
        Each is a number, or one for each sample. Differentiable in all of them in every mode.
        Raises: NonFiniteError that names the step if the solution blows up; ShapeError, DtypeError, InputError for arguments that do not
        fit.
        """
        name, shape, axes = "GrayScottSolver", self.torus.shape, self.torus.axes
        x = initial_state(name, "start", start, (2, *shape))
        duration, saves = check_times(name, duration, saves)
        if not isinstance(diffusion, tuple | list) or len(diffusion) != 2:
            raise InputError(f"{name}.solve(diffusion={diffusion!r}): give two numbers, for u and for v")
        count, step = steps_between(duration, saves, self.stepping.step)
        ndim = len(shape)
        du, dv = (coefficient(name, "diffusion", d, ndim, x.device, zero=True) for d in diffusion)
        f, k = coefficient(name, "feed", feed, ndim, x.device, zero=True), coefficient(name, "kill", kill, ndim, x.device, zero=True)
        squared = constant(self.torus.squared(), np.float64, x.device)
        linear = stack([-(du * squared) - f, -(dv * squared) - f - k], axis=-1 - ndim)
        mask = constant(self.torus.kept(degree=3), x.dtype, x.device)
        fed = f.astype(x.dtype)

        def nonlinear(spectrum: Tensor) -> Tensor:
            fields = irfftn(mask * spectrum, s=shape, axes=axes)
            u, v = fields[(..., 0, *(slice(None),) * ndim)], fields[(..., 1, *(slice(None),) * ndim)]
            reaction = u * v * v
            return mask * rfftn(stack([fed - reaction, reaction], axis=-1 - ndim), axes=axes)

        advance = self.stepping.advance(linear, nonlinear, step, x.dtype)
        states = march(name, advance, rfftn(x, axes=axes), saves, count, duration)
        return stack([irfftn(v, s=shape, axes=axes) for v in states], axis=-2 - ndim)
