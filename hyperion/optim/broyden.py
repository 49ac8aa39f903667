"""The self-scaled Broyden family: quasi-Newton steps with the whole inverse Hessian, for networks of a few thousand parameters."""

import math
import os
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import numpy as np
from scipy.linalg import get_blas_funcs, get_lapack_funcs

from hyperion.errors import InputError
from hyperion.gpu import device
from hyperion.optim.linesearch import Wolfe
from hyperion.optim.quasinewton import QuasiNewton

__all__ = ["SelfScaledBroyden", "bfgs", "ssbfgs", "ssbroyden"]

_symv, _syr, _syr2 = get_blas_funcs(("symv", "syr", "syr2"), dtype=np.float64)
_pack, _unpack = get_lapack_funcs(("trttp", "tpttr"), dtype=np.float64)

Family: TypeAlias = Callable[[float, float, int], tuple[float, float]]


def ssbroyden(b: float, h: float, size: int) -> tuple[float, float]:
    """Return the scaling tau and the weight phi of Al-Baali's self-scaled Broyden update.

    b: s.B s / y.s, h: y.H y / y.s, of a step s and the change y of the gradient, with B the Hessian's approximation and H its inverse;
    b h >= 1.  size: the number of parameters.
    Source: Urban, Stefanou and Pons 2025, J. Comput. Phys. 523, 113656 (arXiv:2405.04230), section 3; Al-Baali, Spedicato and Maggioni
    2014, Optim. Methods Softw. 29, 937.

    >>> ssbroyden(1.0, 1.0, 10)
    (1.0, 1.0)
    """
    a = max(b * h - 1.0, 0.0)
    if a < 1e-14:       # H y is along s: all members of the family agree, but for the scale
        return min(1.0, 1.0 / b), 1.0
    lower = min(1.0, h * (1.0 - math.sqrt(a / (a + 1.0))))
    theta = max((lower - 1.0) / a, min(1.0 / lower, (1.0 - b) / b))
    sigma = 1.0 + a * theta
    power = sigma ** (-1.0 / (size - 1)) if size > 1 else 1.0
    upper = min(1.0, 1.0 / b)
    tau = upper * min(power, 1.0 / theta) if theta > 0.0 else min(upper * power, sigma)
    return tau, (1.0 - theta) / sigma


def ssbfgs(b: float, h: float, size: int) -> tuple[float, float]:
    """Return tau and phi = 1 of the self-scaled BFGS update; arguments and source as for `ssbroyden`.

    >>> ssbfgs(2.0, 1.0, 10)
    (0.5, 1.0)
    """
    return min(1.0, 1.0 / b), 1.0


def bfgs(b: float, h: float, size: int) -> tuple[float, float]:
    """Return tau = 1 and phi = 1: the update of Broyden, Fletcher, Goldfarb and Shanno.

    >>> bfgs(2.0, 1.0, 10)
    (1.0, 1.0)
    """
    return 1.0, 1.0


class SelfScaledBroyden(QuasiNewton):
    """Minimise a smooth function by quasi-Newton steps with the whole inverse Hessian, scaled before each update.

    parameters: tree of Tensors or arrays, best float64.  bounds, first_step, wolfe: as for LBFGS.
    family: which update: `ssbroyden`, `ssbfgs`, `bfgs`, or a function (b, h, size) -> (tau, phi) of your own.

    With s a step, y the change of the gradient and u = H y, the inverse Hessian becomes
        H <- (H - u u' / (y.u) + phi (y.u) v v') / tau + s s' / (y.s),  v = s / (y.s) - u / (y.u),
    a symmetric update of rank two on one triangle of a float64 matrix: 8 size^2 bytes, about 4 size^2 flops an iteration beside the
    evaluations. Against L-BFGS it keeps all that was ever learnt; on ill-conditioned losses of small networks (PINNs) it goes orders
    of magnitude deeper. An update whose curvature y.s is not clearly positive is left out. When the search along the direction fails, the
    matrix is forgotten and the search made once more along the gradient. Where a bound stops a step, the update is that of BFGS.
    Attributes: value (at the current parameters), stalled (True when the last iteration found no better point), evaluations, iterations.
    Raises: InputError for a wrong option, or a matrix that does not fit in memory; NonFiniteError if the value at the start is not finite.
    Source: Urban, Stefanou and Pons 2025, J. Comput. Phys. 523, 113656 (arXiv:2405.04230); Kiyani et al. 2025, Comput. Methods Appl. Mech.
    Eng. 446, 118308 (arXiv:2501.16371); scale before the first update: Nocedal and Wright, Numerical Optimization (2006), eq. 6.20.

    >>> import hyperion as hp
    >>> optimizer = SelfScaledBroyden(hp.asarray([-1.2, 1.0], dtype="float64"))
    >>> rosenbrock = hp.value_and_grad(lambda x: 100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2)
    >>> for _ in range(60):
    ...     _ = optimizer.advance(rosenbrock)
    >>> [round(float(v), 6) for v in optimizer.parameters.numpy()]
    [1.0, 1.0]
    """

    _title: ClassVar[str] = "SelfScaledBroyden"

    def __init__(
        self,
        parameters: Any,
        bounds: tuple[Any, Any] | None = None,
        family: Family = ssbroyden,
        first_step: float | None = None,
        wolfe: Wolfe | None = None,
    ):
        super().__init__(parameters, bounds, first_step, wolfe)
        if not callable(family):
            raise InputError(f"family={family!r}: must be ssbroyden, ssbfgs, bfgs or a function (b, h, size) -> (tau, phi)")
        self.family = family
        _refuse_unless_fits(self._vector.size, self._xp)
        self._matrix: _HostMatrix | _DeviceMatrix | None = None     # None: nothing learnt
        self._newton: Any = None                                    # the step -H g of the last search

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {name: getattr(self, name) for name in ("value", "stalled", "evaluations", "iterations")}
        if self._matrix is not None:
            state |= {"matrix": self._matrix.packed(), "scale": self._matrix.scale}
        if self._gradient is not None:
            state["gradient"] = device.to_numpy(self._gradient)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        size = self._vector.size
        problems = [f"{name} is missing" for name in ("value", "stalled", "evaluations", "iterations") if name not in state]
        shapes = {"gradient": ((size,), self.dtype), "matrix": ((size * (size + 1) // 2,), np.dtype("float64"))}
        problems += ["scale is missing"] * ("matrix" in state and "scale" not in state)
        for name, (shape, dtype) in shapes.items():
            array = np.asarray(state.get(name, np.zeros(shape, dtype)))
            if array.shape != shape or array.dtype != dtype:
                problems.append(f"{name} has shape {array.shape} and dtype {array.dtype}, it must have {shape} and {dtype}")
        if problems:
            raise InputError(f"state: {'; '.join(problems)}. Load the state of a SelfScaledBroyden of the same parameters")
        self._matrix = None
        if "matrix" in state:
            self._matrix = self._new_matrix(float(state["scale"]))
            self._matrix.unpack(np.asarray(state["matrix"]))
        self._gradient = self._xp.asarray(state["gradient"]) if "gradient" in state else None
        self.value, self.stalled = float(state["value"]), bool(state["stalled"])
        self.evaluations, self.iterations = int(state["evaluations"]), int(state["iterations"])

    def _new_matrix(self, scale: float) -> "_HostMatrix | _DeviceMatrix":
        return _HostMatrix(self._vector.size, scale) if self._xp is np else _DeviceMatrix(self._xp, self._vector.size, scale)

    def _learnt(self) -> bool:
        return self._matrix is not None

    def _forget(self) -> None:
        self._matrix = None

    def _inverse_hessian(self, gradient: Any, free: Any) -> Any:
        whole = bool(free.all())
        out = gradient if whole else gradient * free
        if self._matrix is None:
            out = self.dtype.type(self._first_scale(out)) * out
        else:
            out = self._matrix.times(out).astype(self.dtype, copy=False)
        out = out if whole else out * free
        self._newton = -out
        return out

    def _remember(self, step: Any, change: Any, length: float) -> None:
        s, y = step.astype(np.float64), change.astype(np.float64)
        curvature = self._dot(s, y)
        if not curvature > np.finfo(self.dtype).eps * math.sqrt(self._dot(s, s) * self._dot(y, y)):
            return
        first = self._matrix is None
        if self._matrix is None:
            self._matrix = self._new_matrix(curvature / self._dot(y, y))
        u = self._matrix.times(y)
        square = self._dot(y, u)
        tau, phi = 1.0, 1.0
        if not first and self._is_newton_step(step, length):
            # B s = -length * gradient, since the step was length * (-H gradient): no product with the Hessian's approximation.
            b = -length * self._dot(step, self._gradient) / curvature
            tau, phi = self._weights(b, square / curvature)
        # The update, written out in s and u: ss s s' + su (s u' + u s') + uu u u'.
        ss = phi * square / (tau * curvature**2) + 1.0 / curvature
        su = -phi / (tau * curvature)
        uu = (phi - 1.0) / (tau * square)
        self._matrix.update(s, u, ss, su, uu, tau)

    def _weights(self, b: float, h: float) -> tuple[float, float]:
        """Return what the family says. Raises: InputError unless that is a positive and another finite number."""
        given: Any = self.family(b, h, self._vector.size)
        try:
            tau, phi = (float(number) for number in given)
        except (TypeError, ValueError):
            tau = phi = math.nan
        if not (0.0 < tau < math.inf and math.isfinite(phi)):
            raise InputError(f"family(b={b:g}, h={h:g}, size={self._vector.size}): returned {given!r}; it must return two finite numbers, "
                             "the scaling tau, above 0, and the weight phi")
        return tau, phi

    def _is_newton_step(self, step: Any, length: float) -> bool:
        """Tell whether a step went along the whole quasi-Newton direction: no bound has bent it."""
        if self._lower is None and self._upper is None:
            return True
        off = abs(step - self.dtype.type(length) * self._newton).max()
        return bool(off <= 64 * np.finfo(self.dtype).eps * (abs(step).max() + abs(self._vector).max()))


class _HostMatrix:
    """scale * (a symmetric matrix, of which the lower triangle is kept), on the CPU."""

    def __init__(self, size: int, scale: float):
        self.lower, self.scale = np.zeros((size, size), order="F"), scale
        np.fill_diagonal(self.lower, 1.0)

    def times(self, vector: Any) -> Any:
        return _symv(self.scale, self.lower, vector.astype(np.float64, copy=False), lower=1)

    def update(self, s: Any, u: Any, ss: float, su: float, uu: float, tau: float) -> None:
        """Divide it by tau and add ss s s' + su (s u' + u s') + uu u u'."""
        self.scale /= tau
        if not 1e-100 < self.scale < 1e100:
            self.lower *= self.scale
            self.scale = 1.0
        # Symmetric rank two: s w' + w s' with w = ss / 2 s + su u.
        self.lower = _syr2(1.0 / self.scale, s, 0.5 * ss * s + su * u, a=self.lower, lower=1, overwrite_a=1)
        if uu:
            self.lower = _syr(uu / self.scale, u, a=self.lower, lower=1, overwrite_a=1)

    def packed(self) -> Any:
        return _pack(self.lower, uplo="L")[0]

    def unpack(self, packed: Any) -> None:
        self.lower = np.asfortranarray(_unpack(len(self.lower), packed, uplo="L")[0])


class _DeviceMatrix:
    """scale * (a symmetric matrix), on the device of an array namespace."""

    def __init__(self, xp: Any, size: int, scale: float):
        self.xp, self.matrix, self.scale = xp, xp.eye(size), scale

    def times(self, vector: Any) -> Any:
        return self.scale * (self.matrix @ vector.astype(np.float64, copy=False))

    def update(self, s: Any, u: Any, ss: float, su: float, uu: float, tau: float) -> None:
        """Divide it by tau and add ss s s' + su (s u' + u s') + uu u u'."""
        self.scale /= tau
        if not 1e-100 < self.scale < 1e100:
            self.matrix *= self.scale
            self.scale = 1.0
        # Row by row block, so that no second matrix is needed beside it; both triangles get the same numbers.
        left, right = (ss * s + su * u) / self.scale, (su * s + uu * u) / self.scale
        for start in range(0, len(s), 1024):
            rows = slice(start, start + 1024)
            self.matrix[rows] += s[rows, None] * left + u[rows, None] * right

    def packed(self) -> Any:
        return _pack(np.asfortranarray(device.to_numpy(self.matrix)), uplo="L")[0]

    def unpack(self, packed: Any) -> None:
        lower = np.tril(_unpack(len(self.matrix), packed, uplo="L")[0])
        self.matrix = self.xp.asarray(lower + np.tril(lower, -1).T)


def _refuse_unless_fits(size: int, xp: Any) -> None:
    """Refuse more parameters than the memory has room for a matrix of."""
    needed = 8 * size * size
    if xp is np:
        room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
    else:
        room = xp.cuda.Device().mem_info[1]
    if needed > room:
        raise InputError(f"parameters: {size:,} numbers need a matrix of {needed / 2**30:,.1f} GiB, and there are {room / 2**30:,.1f} GiB "
                         "of memory; use LBFGS, or a smaller network")
