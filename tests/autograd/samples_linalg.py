"""Samples of products and linear algebra: real and complex, single matrices and stacks, square, wide and tall."""

from typing import Any

import numpy as np

Sample = tuple[tuple[Any, ...], dict[str, Any]]

rng = np.random.default_rng(7)


def normal(*shape: int) -> Any:
    return rng.standard_normal(shape)


def complexes(*shape: int) -> Any:
    return normal(*shape) + 1j * normal(*shape)


def well(x: Any) -> Any:
    """A square matrix moved away from singular ones, with eigenvalues and singular values apart."""
    return 0.5 * x + np.diag(1.0 + 0.7 * np.arange(x.shape[-1]))


def positive(x: Any) -> Any:
    return x @ x.conj().swapaxes(-1, -2) + np.eye(x.shape[-1])


def of_rank(rank: int, n: int, m: int, make: Any = normal) -> Any:
    return make(n, rank) @ make(rank, m)


def both(*shape: int) -> list[Sample]:
    """A real and a complex matrix, or a stack of them, kept away from singular ones if they are square."""
    keep = well if shape[-1] == shape[-2] else (lambda x: x)
    return [((keep(normal(*shape)),), {}), ((keep(complexes(*shape)),), {})]


SAMPLES: dict[str, list[Sample]] = {
    # products
    "contract": [
        ((normal(2, 3), normal(3, 2)), {"axes": ((0, 1), (1, 2), (0, 2))}),
        ((normal(2, 3, 2), normal(2, 2, 3)), {"axes": ((0, 1, 2), (2, 0, 4), (4, 1, 0))}),
        ((normal(2, 3), normal(3)), {"axes": ((0, 1), (1,), (1, 0))}),
        ((complexes(2, 3), complexes(3, 2)), {"axes": ((0, 1), (1, 0), ())}),
        ((normal(2, 3), complexes(3)), {"axes": ((0, 1), (1,), (0,))}),
        ((normal(), normal(2)), {"axes": ((), (0,), (0,))}),
    ],
    "diagonal": [
        ((normal(3, 4),), {"offset": 1, "axis1": 0, "axis2": 1}), ((complexes(3, 2, 2),), {"offset": -1, "axis1": 2, "axis2": 0}),
        ((normal(2, 2),), {"offset": 5, "axis1": 0, "axis2": 1}),
    ],
    "diag_embed": [
        ((normal(2, 3),), {"offset": 0, "axis1": 1, "axis2": 2, "rows": 3, "columns": 4}),
        ((complexes(2),), {"offset": -1, "axis1": 1, "axis2": 0, "rows": 3, "columns": 2}),
    ],
    # systems
    "inv": [*both(3, 3), *both(2, 1, 2, 2)],
    "solve": [
        ((well(normal(3, 3)), normal(3, 2)), {}), ((well(complexes(2, 2)), complexes(2, 1)), {}),
        ((well(normal(2, 1, 2, 2)), normal(3, 2, 1)), {}), ((well(normal(2, 2)), complexes(2, 1)), {}),
    ],
    "solve_triangular": [
        ((well(normal(3, 3)), normal(3, 2)), {"lower": True, "unit": False}),
        ((well(complexes(2, 2)), complexes(2, 2)), {"lower": False, "unit": False}),
        ((well(normal(2, 1, 3, 3)), normal(2, 3, 1)), {"lower": False, "unit": True}),
    ],
    "pinv": [
        ((normal(3, 2), np.float64(1e-10)), {"symmetric": False}), ((complexes(2, 3), np.float64(1e-10)), {"symmetric": False}),
        ((normal(2, 2, 2), np.array([[1e-10], [1e-8]])), {"symmetric": False}),
        ((np.array([[2.0, 0.3, -0.4], [0.1, -1.0, 0.5], [0.2, 0.7, 3.0]]), np.float64(1e-10)), {"symmetric": True}),
        ((np.array([[1.0 + 0.2j, 0.5 - 0.3j], [0.1j, -2.0]]), np.float64(1e-10)), {"symmetric": True}),
    ],
    # factorisations
    "cholesky": [((positive(normal(3, 3)),), {}), ((positive(complexes(2, 2)),), {}), ((positive(normal(2, 2, 2)),), {})],
    "lu": [*both(3, 3), *both(4, 2), *both(2, 3), ((normal(2, 2, 2),), {})],
    "qr": [*both(3, 3), *both(4, 2), ((normal(2, 3, 1),), {})],
    "eigh": [*both(3, 3), ((well(normal(2, 2, 2)),), {})],
    "eigvalsh": [*both(3, 3), ((well(normal(2, 2, 2)),), {})],
    "eig": [*both(3, 3), ((np.array([[1.0, -2.0], [1.5, 0.5]]),), {}), ((well(normal(2, 2, 2)),), {})],
    "eigvals": [*both(3, 3), ((np.array([[1.0, -2.0], [1.5, 0.5]]),), {}), ((well(normal(2, 2, 2)),), {})],
    "svd": [*both(2, 2), *both(3, 2), *both(2, 3), ((normal(2, 2, 2),), {})],
    "svdvals": [*both(3, 3), *both(3, 2), *both(2, 3), ((normal(2, 2, 2),), {})],
    "completing_rows": [((np.linalg.qr(normal(4, 2))[0],), {}), ((np.linalg.qr(complexes(2, 3, 1))[0],), {})],
    "leading_components": [((normal(3, 2),), {}), ((complexes(2, 3, 3),), {})],
    "determined": [
        ((complexes(2, 3), np.zeros((2, 3), bool), np.tri(2, 3, dtype=bool)), {"name": "test"}),
        ((normal(2, 2, 2), np.zeros((2, 2), bool), np.zeros((1, 1), bool)), {"name": "test"}),
    ],
    # functions
    "det": [*both(4, 4), ((normal(2, 2, 2),), {}), *[((of_rank(rank, 4, 4),), {}) for rank in (3, 2, 1)],
            ((of_rank(3, 4, 4, complexes),), {}), ((of_rank(1, 5, 5),), {})],
    "slogdet": [*both(3, 3), ((well(normal(2, 2, 2)),), {})],
    "matrix_exp": [*both(2, 2), ((4.0 * normal(2, 2, 2),), {})],
}
