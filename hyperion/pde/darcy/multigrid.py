"""Conjugate gradients for -div(a grad u) = f, preconditioned by geometric multigrid; raw arrays with samples along axis 0.

Unknowns sit at the nodes of a grid, u = 0 at its outer nodes. A face between two nodes has a conductance; the discrete equation balances
the flow through the faces of a node's control volume. A coarse grid keeps every second node and, of an odd number of cells, the last: its
conductances are those of two faces in series, and of the rows between shared by their neighbours. So any number of cells will do.
Source: Alcouffe, Brandt, Dendy and Painter, SIAM J. Sci. Stat. Comput. 2 (1981), 430, for interpolation by conductances; Briggs, Henson
and McCormick, A Multigrid Tutorial, 2nd ed. (2000), chapters 3 and 7; Tatebe (1993) for the combination with CG.
"""
from typing import Any

from hyperion.errors import ConvergenceError
from hyperion.gpu import device as devices

SWEEPS = 2              # damped Jacobi before and after each coarse correction
DAMPING = 0.8           # the best for the highest half of the modes of a five-point star: 4/5
DENSE = 32              # unknowns of the coarsest grid, solved by a dense inverse
MOST = 200              # iterations


def multiply(cx: Any, cy: Any, u: Any) -> Any:
    """Return what flows out of the control volumes: (samples, ny, nx), 0 at outer nodes, where u must be 0 as well.

    cx: conductances of the faces between neighbours along x, (samples, ny, nx - 1). cy: along y, (samples, ny - 1, nx).
    """
    out = devices.namespace(u).zeros_like(u)
    flow = cx[:, 1:-1] * (u[:, 1:-1, 1:] - u[:, 1:-1, :-1])
    inner = out[:, 1:-1, 1:-1]
    inner += flow[:, :, :-1]
    inner -= flow[:, :, 1:]
    flow = cy[:, :, 1:-1] * (u[:, 1:, 1:-1] - u[:, :-1, 1:-1])
    inner += flow[:, :-1]
    inner -= flow[:, 1:]
    return out


class Level:
    """One grid of the hierarchy: conductances, and interpolation from the next coarser one (None on the coarsest).

    A node that goes takes the values of its two neighbours along an axis, weighted by the conductances: the flow through it is continuous.
    """

    def __init__(self, cx: Any, cy: Any):
        xp = self.xp = devices.namespace(cx)
        self.cx, self.cy = cx, cy
        diagonal = cx[:, 1:-1, 1:] + cx[:, 1:-1, :-1] + cy[:, 1:, 1:-1] + cy[:, :-1, 1:-1]
        self.damped = DAMPING / diagonal
        ny, nx = cx.shape[1], cy.shape[2]
        self.coarser: Level | None = None
        if (ny - 2) * (nx - 2) <= DENSE:
            self.inverse = self._dense_inverse()
            return
        keep_x, keep_y = _kept(nx), _kept(ny)
        self.from_x = _interpolation(cx, 2, keep_x)
        self.from_y = _interpolation(xp.take(cy, xp.asarray(keep_x), axis=2), 1, keep_y)
        coarse_cx = _series(_shared(cx, 1, keep_y), 2, keep_x)
        coarse_cy = _series(_shared(cy, 2, keep_x), 1, keep_y)
        self.coarser = Level(coarse_cx, coarse_cy)

    def _dense_inverse(self) -> Any:
        xp, (samples, ny, nx) = self.xp, (self.cx.shape[0], self.cx.shape[1], self.cy.shape[2])
        m = (ny - 2) * (nx - 2)
        columns = []
        for i in range(m):
            unit = xp.zeros((samples, ny, nx), self.cx.dtype)
            unit[:, 1 + i // (nx - 2), 1 + i % (nx - 2)] = 1.0
            columns.append(multiply(self.cx, self.cy, unit)[:, 1:-1, 1:-1].reshape(samples, m))
        return xp.linalg.inv(xp.stack(columns, axis=-1))

    def cycle(self, b: Any) -> Any:
        """Return one V-cycle from zero for A u = b: a symmetric positive definite approximation of the inverse."""
        u = self.xp.zeros_like(b)
        inner = u[:, 1:-1, 1:-1]
        if self.coarser is None:
            samples = b.shape[0]
            inner[...] = (self.inverse @ b[:, 1:-1, 1:-1].reshape(samples, -1, 1)).reshape(inner.shape)
            return u
        inner[...] = self.damped * b[:, 1:-1, 1:-1]
        for _ in range(SWEEPS - 1):
            self._smooth(u, b)
        rest = b - multiply(self.cx, self.cy, u)
        coarse = self.coarser.cycle(_restrict(_restrict(rest, self.from_x, 2), self.from_y, 1))
        u += _prolong(_prolong(coarse, self.from_y, 1), self.from_x, 2)
        for _ in range(SWEEPS):
            self._smooth(u, b)
        return u

    def _smooth(self, u: Any, b: Any) -> None:
        rest = b - multiply(self.cx, self.cy, u)
        u[:, 1:-1, 1:-1] += self.damped * rest[:, 1:-1, 1:-1]


def _kept(nodes: int) -> list[int]:
    """Return the nodes that a coarser grid keeps: every second, and the last; all of a short axis."""
    if nodes <= 4:
        return list(range(nodes))
    return [*range(0, nodes - 1, 2), nodes - 1]


def _interpolation(c: Any, axis: int, keep: list[int]) -> tuple[int, int, Any] | None:
    """Return (fine nodes, pairs of kept neighbours with a node between, weights of the lower ones); None if nothing is coarsened."""
    nodes = c.shape[axis] + 1
    if len(keep) == nodes:
        return None
    pairs = (nodes - 1) // 2
    lower, upper = c[_at(axis, slice(0, 2 * pairs, 2))], c[_at(axis, slice(1, 2 * pairs, 2))]
    return nodes, pairs, lower / (lower + upper)


def _at(axis: int, which: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, which)


def _prolong(coarse: Any, how: tuple[int, int, Any] | None, axis: int) -> Any:
    """Return coarse values at the fine nodes of an axis."""
    if how is None:
        return coarse
    nodes, pairs, left = how
    shape = list(coarse.shape)
    shape[axis] = nodes
    fine = devices.namespace(coarse).empty(shape, coarse.dtype)
    fine[_at(axis, slice(0, 2 * pairs + 1, 2))] = coarse[_at(axis, slice(0, pairs + 1))]
    lower, upper = coarse[_at(axis, slice(0, pairs))], coarse[_at(axis, slice(1, pairs + 1))]
    fine[_at(axis, slice(1, 2 * pairs, 2))] = left * lower + (1.0 - left) * upper
    if nodes > 2 * pairs + 1:
        fine[_at(axis, slice(nodes - 1, nodes))] = coarse[_at(axis, slice(pairs + 1, pairs + 2))]
    return fine


def _restrict(fine: Any, how: tuple[int, int, Any] | None, axis: int) -> Any:
    """Return the transpose of `_prolong`, with 0 at the ends (outer nodes carry no residual)."""
    if how is None:
        return fine
    nodes, pairs, left = how
    between = fine[_at(axis, slice(1, 2 * pairs, 2))]
    shape = list(fine.shape)
    shape[axis] = pairs + 1 + (nodes > 2 * pairs + 1)
    coarse = devices.namespace(fine).zeros(shape, fine.dtype)
    coarse[_at(axis, slice(0, pairs + 1))] = fine[_at(axis, slice(0, 2 * pairs + 1, 2))]
    coarse[_at(axis, slice(0, pairs))] += left * between
    coarse[_at(axis, slice(1, pairs + 1))] += (1.0 - left) * between
    coarse[_at(axis, slice(0, 1))] = 0.0
    coarse[_at(axis, slice(shape[axis] - 1, None))] = 0.0
    return coarse


def _series(c: Any, axis: int, keep: list[int]) -> Any:
    """Return the conductances between kept nodes along an axis: two in series where a node between them goes."""
    if len(keep) == c.shape[axis] + 1:
        return c
    pairs = c.shape[axis] // 2
    first, second = c[_at(axis, slice(0, 2 * pairs, 2))], c[_at(axis, slice(1, 2 * pairs, 2))]
    joined = first * second / (first + second)
    if c.shape[axis] == 2 * pairs:
        return joined
    return devices.namespace(c).concatenate([joined, c[_at(axis, slice(2 * pairs, None))]], axis=axis)


def _shared(c: Any, axis: int, keep: list[int]) -> Any:
    """Return conductances at the kept nodes of the axis across: each node that goes gives half to both neighbours."""
    nodes = c.shape[axis]
    if len(keep) == nodes:
        return c
    pairs = (nodes - 1) // 2
    gone = 0.5 * c[_at(axis, slice(1, 2 * pairs, 2))]
    out = devices.namespace(c).take(c, devices.namespace(c).asarray(keep), axis=axis)
    out[_at(axis, slice(0, pairs))] += gone
    out[_at(axis, slice(1, pairs + 1))] += gone
    return out


def solve(cx: Any, cy: Any, b: Any, tolerance: float) -> tuple[Any, int]:
    """Return u with A u = b, (samples, ny, nx), and the number of iterations. A sample that has converged is left as it is.

    tolerance: of |b - A u| / |b| for every sample.
    Raises: ConvergenceError with the sample and what it reached.
    """
    xp = devices.namespace(b)
    level = Level(cx, cy)
    goal = tolerance * _norms(xp, b)
    u, r = xp.zeros_like(b), b.copy()
    z = level.cycle(r)
    p, rho = z.copy(), _dots(xp, r, z)
    for count in range(MOST + 1):
        active = _norms(xp, r) > goal
        if not bool(active.any()):
            return u, count
        if count == MOST:
            break
        q = multiply(cx, cy, p)
        curvature = _dots(xp, p, q)
        step = xp.where(active, rho / xp.where(active, curvature, 1.0), 0.0).reshape(-1, 1, 1)
        u += step * p
        r -= step * q
        z = level.cycle(r)
        rho, before = _dots(xp, r, z), rho
        p *= xp.where(active, rho / xp.where(active, before, 1.0), 0.0).reshape(-1, 1, 1)
        p += z
    worst = int(xp.argmax(_norms(xp, r) - goal))
    reached = float(_norms(xp, r)[worst] / max(float(goal[worst]) / tolerance, 1e-300))
    raise ConvergenceError(f"DarcySolver: |b - A u| / |b| = {reached:.3g} of sample {worst} after {MOST} iterations, wanted "
                           f"{tolerance:.3g}; the permeability may span too many orders of magnitude: give a larger tolerance")


def _dots(xp: Any, x: Any, y: Any) -> Any:
    return (x * y).reshape(x.shape[0], -1).sum(axis=1)


def _norms(xp: Any, x: Any) -> Any:
    return xp.sqrt(_dots(xp, x, x))
