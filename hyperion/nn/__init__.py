"""Networks: Modules, layers, models, and what trains them."""

from hyperion.nn.module import Module, capture, parameter

__all__ = ["Module", "capture", "parameter"]
