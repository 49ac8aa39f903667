"""Arrays from MATLAB's files, as many reference solutions come."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from hyperion.errors import FileError

__all__ = ["read_matlab"]


def read_matlab(path: str | Path, *names: str) -> list[np.ndarray[Any, Any]]:
    """Return the arrays of these names of a file of MATLAB, versions 4 to 7.2.

    Raises: FileError if the file is missing, is not of MATLAB, or lacks an array.

    >>> import tempfile
    >>> from scipy.io import savemat
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     savemat(f"{folder}/waves.mat", {"x": np.arange(3.0)})
    ...     read_matlab(f"{folder}/waves.mat", "x")[0].shape
    (1, 3)
    """
    if not Path(path).is_file():
        raise FileError(f"{path}: no such file; give one of MATLAB, such as burgers_shock.mat")
    try:
        file = loadmat(path, appendmat=False)
    except (ValueError, TypeError, OSError, NotImplementedError, MatReadError) as error:
        raise FileError(f"{path}: is not a file of MATLAB, version 4 to 7.2 ({error}); save it with -v7") from error
    missing = [name for name in names if not isinstance(file.get(name), np.ndarray)]
    if missing:
        held = ", ".join(name for name in file if not name.startswith("__"))
        raise FileError(f"{path}: holds no array {', '.join(missing)}; it has {held or 'none'}")
    return [file[name] for name in names]
