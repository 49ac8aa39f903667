"""Physics-informed networks: domains, conditions, samplers, and the residual of an Equation."""

from hyperion.operators.pinn.balancing import NTK, Balance, CausalWeights, GradientNorm, ReLoBRaLo, ResidualAttention
from hyperion.operators.pinn.conditions import Condition, Dirichlet, Initial, Neumann, Observed, Periodic, Robin, Side
from hyperion.operators.pinn.domains import Box, Domain, Interval
from hyperion.operators.pinn.marching import TimeMarching
from hyperion.operators.pinn.pinn import PINN
from hyperion.operators.pinn.samplers import Grid, LatinHypercube, Random, ResidualDensity, ResidualRefinement, Sampler, Sobol
from hyperion.operators.pinn.shapes import Ball, Disc, Polygon
from hyperion.operators.pinn.training import PINNTrainer, Points
from hyperion.operators.pinn.values import Coefficient, Positive, Unknown

__all__ = ["NTK", "PINN", "Balance", "Ball", "Box", "CausalWeights", "Coefficient", "Condition", "Dirichlet", "Disc", "Domain"]
__all__ += ["GradientNorm", "Grid", "Initial", "Interval", "LatinHypercube", "Neumann", "Observed", "PINNTrainer", "Periodic"]
__all__ += ["Points", "Polygon", "Positive", "Random", "ReLoBRaLo", "ResidualAttention", "ResidualDensity"]
__all__ += ["ResidualRefinement", "Robin", "Sampler", "Side", "Sobol", "TimeMarching", "Unknown"]
