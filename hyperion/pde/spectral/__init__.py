"""Pseudo-spectral solvers on the torus: random fields, Burgers, Navier-Stokes, Gray-Scott; exponential integrators."""
from .burgers import BurgersSolver
from .gray_scott import GrayScottSolver
from .integrators import ETDRK4, CrankNicolson
from .navier_stokes import VorticitySolver
from .random_fields import GaussianField
from .torus import Torus

__all__ = ["ETDRK4", "BurgersSolver", "CrankNicolson", "GaussianField", "GrayScottSolver", "Torus", "VorticitySolver"]
