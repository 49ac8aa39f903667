"""The namespace of functions of Tensors, which `hyperion` shows as its own. Each family of operations says what it adds."""

import hyperion.autograd.creation as creation
import hyperion.autograd.inspection as inspection
from hyperion.autograd.creation import *
from hyperion.autograd.exchange import from_dlpack
from hyperion.autograd.inspection import *
from hyperion.autograd.ops import (
    activations,
    arithmetic,
    attending,
    bitwise,
    channels,
    comparison,
    complexes,
    contraction,
    convolution,
    cross_entropy,
    elementary,
    gathering,
    heads,
    indexing,
    interpolation,
    layers,
    manipulation,
    modes,
    normalization,
    paging,
    pointnets,
    pooling,
    products,
    reductions,
    scans,
    shaping,
    sorting,
    special,
    spectral,
    statistics,
    stencils,
    windows,
)
from hyperion.autograd.ops import linalg as linalg  # a namespace of its own, hyperion.linalg; its rows belong to the table
from hyperion.autograd.ops.activations import *
from hyperion.autograd.ops.arithmetic import *
from hyperion.autograd.ops.attending import *
from hyperion.autograd.ops.bitwise import *
from hyperion.autograd.ops.channels import *
from hyperion.autograd.ops.comparison import *
from hyperion.autograd.ops.complexes import *
from hyperion.autograd.ops.contraction import *
from hyperion.autograd.ops.convolution import *
from hyperion.autograd.ops.cross_entropy import *
from hyperion.autograd.ops.elementary import *
from hyperion.autograd.ops.gathering import *
from hyperion.autograd.ops.heads import *
from hyperion.autograd.ops.indexing import *
from hyperion.autograd.ops.interpolation import *
from hyperion.autograd.ops.layers import *
from hyperion.autograd.ops.manipulation import *
from hyperion.autograd.ops.modes import *
from hyperion.autograd.ops.normalization import *
from hyperion.autograd.ops.paging import *
from hyperion.autograd.ops.pointnets import *
from hyperion.autograd.ops.pooling import *
from hyperion.autograd.ops.products import *
from hyperion.autograd.ops.reductions import *
from hyperion.autograd.ops.scans import *
from hyperion.autograd.ops.shaping import *
from hyperion.autograd.ops.sorting import *
from hyperion.autograd.ops.special import *
from hyperion.autograd.ops.spectral import *
from hyperion.autograd.ops.statistics import *
from hyperion.autograd.ops.stencils import *
from hyperion.autograd.ops.windows import *

__all__: list[str] = ["from_dlpack"]
__all__ += creation.__all__
__all__ += arithmetic.__all__
__all__ += comparison.__all__
__all__ += indexing.__all__
__all__ += contraction.__all__
__all__ += products.__all__
__all__ += reductions.__all__
__all__ += shaping.__all__
__all__ += stencils.__all__
__all__ += activations.__all__
__all__ += bitwise.__all__
__all__ += complexes.__all__
__all__ += elementary.__all__
__all__ += special.__all__
__all__ += inspection.__all__
__all__ += gathering.__all__
__all__ += manipulation.__all__
__all__ += scans.__all__
__all__ += sorting.__all__
__all__ += statistics.__all__
__all__ += convolution.__all__
__all__ += interpolation.__all__
__all__ += pooling.__all__
__all__ += spectral.__all__
__all__ += modes.__all__
__all__ += channels.__all__
__all__ += pointnets.__all__
__all__ += windows.__all__
__all__ += normalization.__all__
__all__ += layers.__all__
__all__ += cross_entropy.__all__
__all__ += attending.__all__
__all__ += paging.__all__
__all__ += heads.__all__
