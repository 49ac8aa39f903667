"""Steady flow through a porous medium, differentiable in the permeability and the source by one more solve."""
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperion.autograd import Primitive, Tensor, as_tensor
from hyperion.autograd.batching import expand
from hyperion.autograd.functions import broadcast_to, pad
from hyperion.errors import DtypeError, InputError, ShapeError
from hyperion.gpu import device as devices

from ..checks import is_positive, is_whole
from ..spectral.marching import raw
from . import multigrid


class DarcySolver:
    """-div(a grad u) = f in a rectangle, u = 0 on its edges; axes (y, x).

    Finite volumes around the nodes; what flows between two nodes goes through the harmonic mean of their permeabilities, so jumps are
    allowed. Solved by conjugate gradients with multigrid in float64, whatever the dtype of the input; order 2 for smooth permeabilities.
    shape: nodes per axis, those on the edges included: (ny, nx). lengths: of the rectangle along each axis, or one for both.
    tolerance: of the residual relative to the source; default 1e-12, for float32 input 1e-8.
    Raises: ShapeError, InputError for arguments that cannot be.
    Source: Patankar, Numerical Heat Transfer and Fluid Flow (1980), section 4.2-3 (harmonic mean).

    >>> solver = DarcySolver((17, 17))
    >>> u = solver.solve(permeability=np.ones((17, 17)), source=1.0)
    >>> u.shape, round(u.max().item(), 4)
    ((17, 17), 0.0734)
    """

    def __init__(self, shape: Sequence[int], lengths: Sequence[float] | float = 1.0, tolerance: float | None = None):
        if not np.iterable(shape) or len(tuple(shape)) != 2 or not all(is_whole(n, 3) for n in shape):
            raise ShapeError(f"DarcySolver(shape={shape!r}): give two axes of at least 3 nodes, those on the edges included")
        sides = tuple(lengths) if np.iterable(lengths) else (lengths,) * 2
        if len(sides) != 2 or not all(is_positive(side) for side in sides):
            raise InputError(f"DarcySolver(lengths={lengths!r}): give one positive length per axis, or one for both")
        if tolerance is not None and not (is_positive(tolerance) and tolerance < 1):
            raise InputError(f"DarcySolver(tolerance={tolerance!r}): give a number between 0 and 1, or None")
        self.shape = tuple(int(n) for n in shape)
        self.lengths = tuple(float(side) for side in sides)
        self.tolerance = tolerance

    def __repr__(self) -> str:
        return f"DarcySolver {'x'.join(map(str, self.shape))}, {' x '.join(f'{side:g}' for side in self.lengths)}"

    @property
    def spacing(self) -> tuple[float, float]:
        """Distance of nodes (hy, hx)."""
        (ny, nx), (ly, lx) = self.shape, self.lengths
        return ly / (ny - 1), lx / (nx - 1)

    def solve(self, permeability: Any, source: Any) -> Tensor:
        """Return u at the nodes, (..., ny, nx), 0 on the edges.

        permeability: positive, (..., ny, nx), float32 or float64. source: (..., ny, nx), or a number. Leading axes broadcast.
        Differentiable in both to any order, in forward and in reverse: a derivative is one more solve.
        Raises: InputError for a permeability that is not positive and finite, with the place; ShapeError, DtypeError for arrays that do not
        fit; ConvergenceError if the tolerance is not reached.
        """
        a = as_tensor(permeability)
        if a.dtype not in (np.float32, np.float64):
            raise DtypeError(f"DarcySolver.solve(permeability of dtype {a.dtype}): use float32 or float64")
        f = as_tensor(source).astype(a.dtype)
        for name, x in (("permeability", a), ("source", f)):
            if x.shape[max(0, x.ndim - 2):] != self.shape and (name == "permeability" or x.ndim):
                raise ShapeError(f"DarcySolver.solve({name} of shape {x.shape}): the last axes must be {self.shape}")
        if f.device != a.device:
            f = f.to(a.device)
        values = raw(a)
        xp = devices.namespace(values)
        wrong = ~(xp.isfinite(values) & (values > 0))
        if bool(wrong.any()):
            at = tuple(int(i) for i in np.argwhere(devices.to_numpy(wrong))[0])
            raise InputError(f"DarcySolver.solve(permeability): {float(values[at]):g} at {at}; it must be positive and finite everywhere")
        if not bool(xp.isfinite(raw(f)).all()):
            raise InputError("DarcySolver.solve(source): some value is NaN or infinite; every value must be finite")
        shape = (*np.broadcast_shapes(a.shape[:-2], f.shape[:-2]), *self.shape)
        tolerance = self.tolerance or (1e-12 if a.dtype == np.float64 else 1e-8)
        hy, hx = self.spacing
        return _SOLVE(broadcast_to(a, shape), broadcast_to(f, shape), hy=hy, hx=hx, tolerance=tolerance)

    def flow(self, permeability: Any, u: Any) -> Tensor:
        """Return -div(a grad u) at the nodes, 0 on the edges, in Tensor operations: what `solve` solves for, and the residual of a network.

        permeability, u: (..., ny, nx).

        >>> solver = DarcySolver((5, 5))
        >>> solver.flow(np.ones((5, 5)), np.zeros((5, 5))).shape
        (5, 5)
        """
        a, u = as_tensor(permeability), as_tensor(u)
        for name, x in (("permeability", a), ("u", u)):
            if x.shape[max(0, x.ndim - 2):] != self.shape:
                raise ShapeError(f"DarcySolver.flow({name} of shape {x.shape}): the last axes must be {self.shape}")
        hy, hx = self.spacing
        return _divergence(_mean(a, -1) * _difference(u, -1), _mean(a, -2) * _difference(u, -2), hy, hx)


def _both(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the values on the lower and the upper side of each face along an axis (-1 or -2)."""
    if axis == -1:
        return x[..., :-1], x[..., 1:]
    return x[..., :-1, :], x[..., 1:, :]


def _difference(x: Tensor, axis: int) -> Tensor:
    low, high = _both(x, axis)
    return high - low


def _mean(a: Tensor, axis: int) -> Tensor:
    """Return the harmonic mean of neighbours."""
    low, high = _both(a, axis)
    return 2.0 * low * high / (low + high)


def _slopes(a: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the derivatives of the harmonic mean with respect to the lower and to the upper value."""
    low, high = _both(a, axis)
    once = 1.0 / (low + high)
    return 2.0 * (high * once) ** 2, 2.0 * (low * once) ** 2


def _divergence(along_x: Tensor, along_y: Tensor, hy: float, hx: float) -> Tensor:
    """Return minus the divergence at the nodes of what flows through the faces (a times differences of u), 0 on the edges."""
    inner = -_difference(along_x[..., 1:-1, :], -1) / hx ** 2 - _difference(along_y[..., 1:-1], -2) / hy ** 2
    return pad(inner, [(0, 0)] * (inner.ndim - 2) + [(1, 1), (1, 1)])


def _forward(xp: Any, a: Any, f: Any, hy: float, hx: float, tolerance: float) -> Any:
    shape, dtype = f.shape, f.dtype
    a = a.reshape(-1, *shape[-2:]).astype(np.float64)
    b = xp.zeros(a.shape)
    b[:, 1:-1, 1:-1] = f.reshape(b.shape)[:, 1:-1, 1:-1] * (hx * hy)
    cx = (hy / hx) * 2.0 * a[:, :, 1:] * a[:, :, :-1] / (a[:, :, 1:] + a[:, :, :-1])
    cy = (hx / hy) * 2.0 * a[:, 1:] * a[:, :-1] / (a[:, 1:] + a[:, :-1])
    return multigrid.solve(cx, cy, b, tolerance)[0].reshape(shape).astype(dtype)


def _vjp(g: Tensor, out: Tensor, a: Tensor, f: Tensor, **params: Any) -> tuple[Tensor, Tensor]:
    """The adjoint state is one more solve (the matrix is symmetric); the gradient in a is minus its flow paired with that of u."""
    adjoint = _SOLVE(a, g, **params)
    gradient: Any = 0.0
    for axis, h in ((-1, params["hx"]), (-2, params["hy"])):
        pairing = _difference(adjoint, axis) * _difference(out, axis) * (-1.0 / h ** 2)
        low, high = _slopes(a, axis)
        before, after = [[(0, 0)] * (a.ndim - 2) + ([(0, 0), end] if axis == -1 else [end, (0, 0)]) for end in ((0, 1), (1, 0))]
        gradient = gradient + pad(pairing * low, before) + pad(pairing * high, after)
    return gradient, adjoint


def _jvp(tangents: list[Tensor | None], out: Tensor, a: Tensor, f: Tensor, **params: Any) -> Tensor | None:
    da, right = tangents
    if da is not None:
        flows = []
        for axis in (-1, -2):
            (low, high), (below, above) = _slopes(a, axis), _both(da, axis)
            flows.append((low * below + high * above) * _difference(out, axis))
        change = -_divergence(flows[0], flows[1], params["hy"], params["hx"])
        right = change if right is None else right + change
    return None if right is None else _SOLVE(a, right, **params)


def _batched(op: Primitive, batched: tuple[bool, ...], inputs: list[Tensor], params: dict[str, Any]) -> Tensor:
    return op(*expand(batched, inputs), **params)


_SOLVE = Primitive("darcy_solve", "general", _forward, _vjp, _jvp, batch=_batched, register=False)
