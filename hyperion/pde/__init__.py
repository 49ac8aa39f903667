"""Physics: equations declared once, bound to grids, stencils, boundaries and time stepping, and run natively with exact derivatives."""
from .attenuation import Attenuation
from .boundary import CPML, Boundary, FreeSurface, PerfectConductor, Periodic, Rigid, Sides
from .darcy import DarcySolver
from .datasets import RECIPES, Recipe, make_dataset
from .equation import Derivative, Equation, Expression, Field, derivative, laplace
from .equations import (
    Acoustic,
    AcousticPressure,
    AcousticTTI,
    AcousticVariableDensity,
    AcousticVTI,
    AdvectionDiffusion,
    AllenCahn,
    Burgers,
    DampedWave,
    Debye,
    Drude,
    Elastic,
    ElasticSH,
    ElasticVTI,
    GrayScott,
    Heat,
    KuramotoSivashinsky,
    Maxwell3D,
    MaxwellTE,
    MaxwellTM,
    Poisson,
    Schroedinger,
    ShallowWater,
    Viscoacoustic,
    Viscoelastic,
)
from .grid import Grid
from .plan import Plan
from .plane_waves import plane_waves
from .receivers import StrainRate, TimeIntegral
from .shallow_water import ShallowWaterSolver
from .solver import Solver
from .spectral import ETDRK4, BurgersSolver, CrankNicolson, GaussianField, GrayScottSolver, Torus, VorticitySolver
from .stencils import LeastSquares, Taylor
from .stepping import SSPRK3, LaxWendroff, Leapfrog, RungeKutta4, Stepping
from .storage import Auto, BoundaryRing, Checkpoints, EverySteps, OnDisk, Storage, Thinned
from .survey import Survey, Wavelet, ricker

__all__ = [
    "CPML", "ETDRK4", "RECIPES", "SSPRK3", "Acoustic", "AcousticPressure", "AcousticTTI", "AcousticVTI", "AcousticVariableDensity",
    "AdvectionDiffusion", "AllenCahn", "Attenuation", "Auto", "Boundary", "BoundaryRing", "Burgers", "BurgersSolver", "Checkpoints",
    "CrankNicolson", "DampedWave", "DarcySolver", "Debye", "Derivative", "Drude", "Elastic", "ElasticSH", "ElasticVTI", "Equation",
    "EverySteps", "Expression", "Field", "FreeSurface", "GaussianField", "GrayScott", "GrayScottSolver", "Grid", "Heat",
    "KuramotoSivashinsky", "LaxWendroff", "Leapfrog", "LeastSquares", "Maxwell3D", "MaxwellTE", "MaxwellTM", "OnDisk",
    "PerfectConductor", "Periodic", "Plan", "Poisson", "Recipe", "Rigid", "RungeKutta4", "Schroedinger", "ShallowWater",
    "ShallowWaterSolver", "Sides", "Solver", "Stepping", "Storage", "StrainRate", "Survey", "Taylor", "Thinned", "TimeIntegral", "Torus",
    "Viscoacoustic", "Viscoelastic", "VorticitySolver", "Wavelet", "derivative", "laplace", "make_dataset", "plane_waves", "ricker",
]
