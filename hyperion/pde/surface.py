"""First derivatives that end at a free surface without a known field beyond it: closed weights that let nothing grow.

At the free surface of a solid tractions vanish and velocities are unknown. The closed derivatives of velocities, D, and of tractions, T,
keep the property on which stability rests, T = -N^-1 D' M with positive diagonal N and M (what cells near the surface count in the energy):
energy is conserved at any ratio of speeds, at any contrast and in corners, up to the time step that is stable inside.
Source: Strand, J. Comput. Phys. 110 (1994), 47 (the property, summation by parts); O'Reilly et al., J. Comput. Phys. 346 (2017), 572 (on
staggered grids). The weights here are computed, for any order: linear equations, of whose solutions the nearest to the weights inside is
taken.
"""
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .stencils import weights


@dataclass(frozen=True)
class Surface:
    """A free surface on node 0 of a staggered axis, in units of cells.

    nodes, halves: what the first nodes and half points count in the energy; 1 further in. to_halves: derivatives of what sits on nodes,
    rows times `halves`; to_nodes: of what sits on half points, rows times `nodes`, without row 0 (the traction made of it is zero there).
    Matrices of the first cells, which read on as inside.
    """

    reach: int
    nodes: np.ndarray
    halves: np.ndarray
    to_halves: np.ndarray
    to_nodes: np.ndarray

    def velocity(self, kind: int) -> np.ndarray:
        """Return the derivative of a velocity, which is unknown beyond: at half points (kind +1) or at nodes (-1)."""
        return self.to_halves / self.halves[:, None] if kind > 0 else self.to_nodes / self.nodes[:, None]

    def traction(self, kind: int) -> np.ndarray:
        """Return the derivative of a traction, which vanishes on the surface."""
        return -self.to_nodes.T / self.halves[:, None] if kind > 0 else -self.to_halves.T / self.nodes[:, None]

    def added(self, vanishes: bool, kind: int) -> np.ndarray:
        """Return what is added to the plain derivative of a traction (it vanishes) or of a velocity, whose reads beyond find zeros.

        Nothing is added where nothing is needed: row 0 of a traction's rate, and reads of it.
        """
        plain = inside(self.reach, kind, len(self.nodes))
        plain[0 if kind < 0 and not vanishes else slice(0), :] = 0.0
        plain[:, 0 if kind > 0 and vanishes else slice(0)] = 0.0
        out = (self.traction(kind) if vanishes else self.velocity(kind)) - plain
        return np.where(np.abs(out) > 1e-12, out, 0.0)


def inside(reach: int, kind: int, count: int) -> np.ndarray:
    """Return the plain derivative on the first `count` cells, at half points from nodes (kind +1) or at nodes from half points (-1)."""
    taps = weights([Fraction(2 * k + 1, 2) for k in range(-reach, reach)], 1)
    return np.asarray(sum((w * np.eye(count, k=k - reach + (kind > 0)) for k, w in enumerate(taps)), start=np.zeros((count, count))))


@functools.cache
def surface(order: int) -> Surface:
    """Return the closure of an even order inside: in every row exact for parabolas (at order 2 for lines), tractions that vanish included.

    >>> surface(2).nodes[:2], surface(4).nodes[:5].round(3)
    (array([0.5, 1. ]), array([0.389, 1.125, 1.   , 0.986, 1.   ]))
    """
    reach = order // 2
    exact, rows = (2, max(reach, 4)) if reach > 1 else (1, 1)            # rows of nodes that differ; of half points one less
    count, halves = rows + 2 * reach, rows - 1
    q, p = inside(reach, 1, count), inside(reach, -1, count)
    p[0] = 0.0
    ends = np.cumsum([halves * rows, halves * halves, rows, halves])
    of_q, of_p, of_n, of_h = np.split(np.arange(ends[-1]), ends[:-1])
    of_q, of_p = of_q.reshape(halves, rows), of_p.reshape(halves, halves)
    node, half = np.arange(count, dtype=float), np.arange(count) + 0.5
    equations = np.array([*_exact(q, of_q, of_h, of_n, half, node, exact, ends[-1]),
                          *_exact(p[1:], of_p, of_n[1:], of_h, node[1:], half, exact, ends[-1])])
    first = np.concatenate([q[:halves, :rows].ravel(), p[1:rows, :halves].ravel(), [0.5], np.ones(rows - 1 + halves)])
    found = first + np.linalg.lstsq(equations[:, :-1], equations[:, -1] - equations[:, :-1] @ first, rcond=1e-10)[0]
    q[:halves, :rows], p[1:rows, :halves] = found[of_q], found[of_p]
    n, h = np.ones(count), np.ones(count)
    n[:rows], h[:halves] = found[of_n], found[of_h]
    return Surface(reach, n, h, q, p)


def _exact(m: np.ndarray, index: np.ndarray, rows: np.ndarray, columns: np.ndarray, at: np.ndarray, from_: np.ndarray, exact: int,
           unknowns: int) -> Iterator[np.ndarray]:
    """Yield equations (unknowns, right side): m / rows is the derivative at `at` of powers at `from_`, -m' / columns that at `from_` of
    powers at `at` which vanish at 0.

    m: known but in its first rows and columns, whose unknowns are numbered by `index`; rows, columns: numbers of the unknown weights.
    """
    r, c = index.shape
    for i in range(r):
        for k in range(exact + 1):
            line = np.zeros(unknowns + 1)
            line[index[i]] = from_[:c] ** k
            line[rows[i]] = -k * at[i] ** (k - 1) if k else 0.0
            line[-1] = -m[i, c:] @ from_[c:] ** k
            yield line
    for j in range(c):
        for k in range(1, exact + 1):
            line = np.zeros(unknowns + 1)
            line[index[:, j]] = -at[:r] ** k
            line[columns[j]] = -k * from_[j] ** (k - 1)
            line[-1] = m[r:, j] @ at[r:] ** k
            yield line
