"""Public checkers of derivatives: for the library's own rules and solvers, and for primitives of your own."""

from hyperion.testing.adjoint import dot_test
from hyperion.testing.rules import check_rules
from hyperion.testing.taylor import taylor_test

__all__ = ["check_rules", "dot_test", "taylor_test"]
