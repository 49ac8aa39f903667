"""Samples of a wavelet, or of anything along one axis, from a file of NumPy."""

from pathlib import Path

import numpy as np

from hyperion.errors import FileError

__all__ = ["read_samples"]


def read_samples(path: str | Path, argument: str = "file") -> np.ndarray:
    """Return the real numbers of a .npy file of one axis, as float32.

    argument: the name of the option, for messages.
    Raises: FileError if the file is missing, none of NumPy's or an archive, or holds NaN, nothing but zeros, or another number of axes.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "wavelet.npy")
    ...     np.save(path, [0.0, 1.0, -1.0])
    ...     read_samples(path)
    array([ 0.,  1., -1.], dtype=float32)
    """
    name = f"{argument}={str(path)!r}"
    try:
        samples = np.load(path, allow_pickle=False)               # Python objects in a file could run code: refused
    except (OSError, ValueError, EOFError) as error:
        raise FileError(f"{name}: {error}; give a .npy file of samples") from error
    if not isinstance(samples, np.ndarray):
        raise FileError(f"{name}: is an archive of {', '.join(samples.files)}; give a .npy file of samples, as numpy.save writes it")
    if samples.dtype.kind not in "iuf" or samples.ndim != 1:
        raise FileError(f"{name}: holds {samples.dtype} values of shape {samples.shape}; give real numbers of shape (steps,)")
    if not np.isfinite(samples).all() or not samples.any():
        raise FileError(f"{name}: is zero everywhere, or holds NaN or infinite samples; mend the file")
    return samples.astype(np.float32)
