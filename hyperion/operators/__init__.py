"""Neural operators: networks that map functions to functions, on any grid."""

from hyperion.operators.deeponet import DeepONet
from hyperion.operators.fno import FNO, FourierBlock, PointwiseMLP, with_coordinates
from hyperion.operators.losses import PhysicsLoss, relative_h1_spectral
from hyperion.operators.normalizers import UnitGaussian
from hyperion.operators.spectral import Pointwise, SpectralConv, Tucker
from hyperion.operators.unet import ConvNeXtBlock, ConvNeXtUNet

__all__ = ["FNO", "FourierBlock", "Pointwise", "PointwiseMLP", "SpectralConv", "Tucker", "with_coordinates"]
__all__ += ["ConvNeXtBlock", "ConvNeXtUNet", "DeepONet"]
__all__ += ["PhysicsLoss", "UnitGaussian", "relative_h1_spectral"]
