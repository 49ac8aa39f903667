"""The equations, one file each."""
from .acoustic import Acoustic
from .advection import AdvectionDiffusion
from .allen_cahn import AllenCahn
from .burgers import Burgers
from .heat import Heat
from .kuramoto_sivashinsky import KuramotoSivashinsky
from .poisson import Poisson
from .schroedinger import Schroedinger

__all__ = ["Acoustic", "AdvectionDiffusion", "AllenCahn", "Burgers", "Heat", "KuramotoSivashinsky", "Poisson", "Schroedinger"]
