"""Public checkers of derivatives: for the library's own rules and solvers, and for primitives of your own."""

from hyperion.testing.adjoint import dot_test
from hyperion.testing.rules import check_rules
from hyperion.testing.taylor import taylor_test
from hyperion.testing.transforms import check_batching, check_taylor

__all__ = ["check_batching", "check_rules", "check_taylor", "dot_test", "taylor_test"]
