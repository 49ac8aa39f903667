"""Random numbers from seeded generators that split: the same numbers on every run, machine and thread count."""

from hyperion.autograd import random as family
from hyperion.autograd.random import *

__all__: list[str] = []
__all__ += family.__all__
