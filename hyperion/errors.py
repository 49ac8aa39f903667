"""The errors and warnings of Hyperion: every refused input is a `HyperionError`.

Each message names the argument as typed, what was got, the rule, and the way out. Each class is also the built-in error a Python user
expects, so `except ValueError` works. The command line prints the message without a traceback and exits with 2.
"""

import difflib
from collections.abc import Iterable

__all__ = [
    "BoundaryError",
    "CompilerError",
    "ConvergenceError",
    "DeviceError",
    "DtypeError",
    "FileError",
    "GraphError",
    "HyperionError",
    "HyperionWarning",
    "IndexingError",
    "InputError",
    "NonFiniteError",
    "OutOfMemoryError",
    "SamplingWarning",
    "ShapeError",
    "SingularError",
    "SpeedWarning",
    "StabilityError",
    "TreeError",
    "nearest",
]


class HyperionError(Exception):
    """Base of every error Hyperion raises on purpose; `except HyperionError` catches them all."""


class ShapeError(HyperionError, ValueError):
    """Shapes that must agree do not."""


class IndexingError(ShapeError, IndexError):
    """An axis or an index lies outside an array."""


class DtypeError(HyperionError, TypeError):
    """An array has a dtype that the operation does not take."""


class DeviceError(HyperionError, RuntimeError):
    """The device asked for is absent, or arrays of different devices meet."""


class StabilityError(HyperionError, ValueError):
    """A time step exceeds the stability limit of the scheme."""


class BoundaryError(HyperionError, ValueError):
    """A boundary does not fit its grid, or a position lies outside the grid."""


class InputError(HyperionError, ValueError):
    """Any other argument, option or key that is refused."""


class SingularError(HyperionError, ValueError):
    """A matrix is singular, not positive definite, or has no unique factorisation, where one is needed."""


class FileError(HyperionError, OSError):
    """A file is missing, truncated, malformed or cannot be written (a full disk)."""


class ConvergenceError(HyperionError, RuntimeError):
    """An iterative method did not reach its tolerance."""


class CompilerError(HyperionError, RuntimeError):
    """No compiler was found, or the compiler refused the generated text."""


class NonFiniteError(HyperionError, FloatingPointError):
    """A computed field became NaN or infinite."""


class OutOfMemoryError(HyperionError, MemoryError):
    """A device has no memory for an array; what was computed so far stays usable."""


class GraphError(HyperionError, RuntimeError):
    """The recorded graph cannot be swept: backward twice, no rule, or nothing recorded."""


class TreeError(HyperionError, TypeError):
    """Two trees (dicts, lists, tuples, dataclasses) differ in structure."""


class HyperionWarning(UserWarning):
    """Base of every warning Hyperion gives."""


class SamplingWarning(HyperionWarning):
    """A wavelength or a period has fewer points than the scheme needs."""


class SpeedWarning(HyperionWarning):
    """A slow path runs because a fast one is missing (no compiler, for example)."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return the way out for an unknown name, as the end of a sentence: the nearest valid one, or all of them.

    >>> nearest("spede", ["speed", "density"])
    "did you mean 'speed'? Valid: density, speed"
    >>> nearest("zzz", ["speed", "density"])
    'valid: density, speed'
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'? Valid: {', '.join(names)}"
    return f"valid: {', '.join(names)}"
