"""Fourier transforms of Tensors: the array API's extension and more."""

from hyperion.autograd.ops import fft as family
from hyperion.autograd.ops.fft import *

__all__: list[str] = []
__all__ += family.__all__
