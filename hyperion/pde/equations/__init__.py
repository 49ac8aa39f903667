"""The equations, one file each."""
from .acoustic import Acoustic
from .acoustic_tti import AcousticTTI
from .acoustic_vti import AcousticVTI
from .advection import AdvectionDiffusion
from .allen_cahn import AllenCahn
from .burgers import Burgers
from .damped_wave import DampedWave
from .dispersive import Debye, Drude
from .elastic import Elastic
from .elastic_sh import ElasticSH
from .elastic_vti import ElasticVTI
from .gray_scott import GrayScott
from .heat import Heat
from .kuramoto_sivashinsky import KuramotoSivashinsky
from .maxwell import Maxwell3D, MaxwellTE, MaxwellTM
from .poisson import Poisson
from .pressure import AcousticPressure
from .pressure_velocity import AcousticVariableDensity
from .schroedinger import Schroedinger
from .shallow_water import ShallowWater
from .viscoacoustic import Viscoacoustic
from .viscoelastic import Viscoelastic

__all__ = [
    "Acoustic", "AcousticPressure", "AcousticTTI", "AcousticVTI", "AcousticVariableDensity", "AdvectionDiffusion", "AllenCahn",
    "Burgers", "DampedWave", "Debye", "Drude", "Elastic", "ElasticSH", "ElasticVTI", "GrayScott", "Heat", "KuramotoSivashinsky",
    "Maxwell3D", "MaxwellTE", "MaxwellTM", "Poisson", "Schroedinger", "ShallowWater", "Viscoacoustic", "Viscoelastic",
]
