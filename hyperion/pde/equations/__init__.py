"""The equations, one file each."""
from .acoustic import Acoustic

__all__ = ["Acoustic"]
