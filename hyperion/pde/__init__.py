"""Physics: equations declared once, bound to grids, stencils, boundaries and time stepping, and run natively with exact derivatives."""
from .boundary import CPML, Boundary, Periodic
from .equation import Derivative, Equation, Expression, Field, derivative, laplace
from .equations import Acoustic
from .grid import Grid
from .solver import Solver
from .stencils import LeastSquares, Taylor
from .stepping import Leapfrog, Plan
from .storage import Checkpoints, EverySteps, Storage, Thinned
from .survey import Survey, Wavelet, ricker

__all__ = [
    "CPML", "Acoustic", "Boundary", "Checkpoints", "Derivative", "Equation", "EverySteps", "Expression", "Field", "Grid", "Leapfrog",
    "LeastSquares", "Periodic", "Plan", "Solver", "Storage", "Survey", "Taylor", "Thinned", "Wavelet", "derivative", "laplace", "ricker",
]
