"""Darcy flow: finite volumes, conjugate gradients with multigrid, and implicit derivatives."""
from .solver import DarcySolver

__all__ = ["DarcySolver"]
