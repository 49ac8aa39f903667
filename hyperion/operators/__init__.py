"""Neural operators: networks that map functions to functions, on any grid."""

from hyperion.operators import hybrid
from hyperion.operators.deeponet import DeepONet
from hyperion.operators.fno import FNO, FourierBlock, PointwiseMLP, with_coordinates
from hyperion.operators.losses import PhysicsLoss, relative_h1_spectral
from hyperion.operators.neuraloperator import from_neuraloperator, to_neuraloperator
from hyperion.operators.normalizers import Normalized, UnitGaussian, predict
from hyperion.operators.pinn import (
    NTK,
    PINN,
    Balance,
    Ball,
    Box,
    CausalWeights,
    Coefficient,
    Condition,
    Dirichlet,
    Disc,
    Domain,
    GradientNorm,
    Grid,
    Initial,
    Interval,
    LatinHypercube,
    Neumann,
    Observed,
    Periodic,
    PINNTrainer,
    Points,
    Polygon,
    Positive,
    Random,
    ReLoBRaLo,
    ResidualAttention,
    ResidualDensity,
    ResidualRefinement,
    Robin,
    Sampler,
    Side,
    Sobol,
    TimeMarching,
    Unknown,
)
from hyperion.operators.solver_terms import adjoint_mismatch, step_residual
from hyperion.operators.spectral import Pointwise, SpectralConv, Tucker
from hyperion.operators.unet import ConvNeXtBlock, ConvNeXtUNet

__all__ = ["FNO", "FourierBlock", "Pointwise", "PointwiseMLP", "SpectralConv", "Tucker", "with_coordinates"]
__all__ += ["ConvNeXtBlock", "ConvNeXtUNet", "DeepONet"]
__all__ += ["Normalized", "PhysicsLoss", "UnitGaussian", "predict", "relative_h1_spectral"]
__all__ += ["from_neuraloperator", "to_neuraloperator"]
__all__ += ["adjoint_mismatch", "hybrid", "step_residual"]
__all__ += ["NTK", "PINN", "Balance", "Ball", "Box", "CausalWeights", "Coefficient", "Condition", "Dirichlet", "Disc", "Domain"]
__all__ += ["GradientNorm", "Grid", "Initial", "Interval", "LatinHypercube", "Neumann", "Observed", "PINNTrainer", "Periodic"]
__all__ += ["Points", "Polygon", "Positive", "Random", "ReLoBRaLo", "ResidualAttention", "ResidualDensity"]
__all__ += ["ResidualRefinement", "Robin", "Sampler", "Side", "Sobol", "TimeMarching", "Unknown"]
