"""Devices: which array library an array belongs to, and what lives on a GPU. CuPy is looked for only when a GPU is asked for."""

from hyperion.gpu import device

__all__ = ["device"]
