"""Bits of integers, and integers as such. None has a derivative; on bools `and`, `or`, `xor` and `invert` are the logical operations."""

from hyperion.autograd.table import elementwise

__all__ = ["bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "gcd", "lcm"]

bitwise_and = elementwise(
    "bitwise_and", lambda xp, x, y: xp.bitwise_and(x, y), None, None, doc="Return the bits set in both, of integers or bools."
)
bitwise_or = elementwise(
    "bitwise_or", lambda xp, x, y: xp.bitwise_or(x, y), None, None, doc="Return the bits set in either, of integers or bools."
)
bitwise_xor = elementwise(
    "bitwise_xor", lambda xp, x, y: xp.bitwise_xor(x, y), None, None, doc="Return the bits set in exactly one, of integers or bools."
)
bitwise_invert = elementwise(
    "bitwise_invert", lambda xp, x: xp.invert(x), None, doc="Return the bits that are not set, of integers or bools."
)
bitwise_left_shift = elementwise(
    "bitwise_left_shift", lambda xp, x, y: xp.left_shift(x, y), None, None, doc="Return the bits of x1 moved up by x2 places, 0 or more."
)
bitwise_right_shift = elementwise(
    "bitwise_right_shift", lambda xp, x, y: xp.right_shift(x, y), None, None,
    doc="Return the bits of x1 moved down by x2 places, 0 or more; the sign of x1 stays.",
)
gcd = elementwise("gcd", lambda xp, x, y: xp.gcd(x, y), None, None, doc="Return the greatest common divisor of integers.")
lcm = elementwise("lcm", lambda xp, x, y: xp.lcm(x, y), None, None, doc="Return the least common multiple of integers.")
