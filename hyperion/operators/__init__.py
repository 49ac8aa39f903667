"""Neural operators: networks that map functions to functions, on any grid."""

from hyperion.operators.fno import FNO, FourierBlock, PointwiseMLP, with_coordinates
from hyperion.operators.spectral import Pointwise, SpectralConv, Tucker

__all__ = ["FNO", "FourierBlock", "Pointwise", "PointwiseMLP", "SpectralConv", "Tucker", "with_coordinates"]
