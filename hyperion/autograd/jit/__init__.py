"""The compiler: functions recorded once, improved by passes, and replayed as native code."""

from hyperion.autograd.jit.function import Jitted, jit

__all__ = ["Jitted", "jit"]
