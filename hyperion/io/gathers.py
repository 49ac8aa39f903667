"""Shot gathers with their geometry, to and from HDF5."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hyperion.errors import FileError, InputError, ShapeError
from hyperion.io.files import open_hdf5, split_dataset
from hyperion.io.results import Axis, Results

__all__ = ["Gathers", "read_gathers", "write_gathers"]


@dataclass(frozen=True)
class Gathers:
    """Recorded traces, when and where.

    values: (shots, receivers, steps). step: [s]. sources: (shots, sources per shot, axes) [m]. receivers: (shots, receivers, axes) [m], in
        the grid's axis order (depth first). unit: of the values.
    Raises: ShapeError if the shapes disagree; InputError if the step is not positive or a number is not finite.

    >>> Gathers(np.zeros((2, 3, 100)), 2e-3, np.zeros((2, 1, 2)), np.zeros((2, 3, 2)))
    Gathers 2 shots, 3 receivers, 100 steps of 0.002 s
    """

    values: np.ndarray
    step: float
    sources: np.ndarray
    receivers: np.ndarray
    unit: str = "Pa"

    def __post_init__(self) -> None:
        values, sources, receivers = self.values, self.sources, self.receivers
        if values.ndim != 3 or sources.ndim != 3 or receivers.ndim != 3:
            raise ShapeError(f"Gathers: values {values.shape}, sources {sources.shape}, receivers {receivers.shape}; each must have 3 "
                             "axes: "
                             "(shots, receivers, steps), (shots, sources, axes), (shots, receivers, axes)")
        if receivers.shape[:2] != values.shape[:2] or sources.shape[0] != values.shape[0] or sources.shape[2] != receivers.shape[2]:
            raise ShapeError(f"Gathers: values {values.shape}, sources {sources.shape}, receivers {receivers.shape} disagree; "
                             "shots, receivers and axes must be the same in all")
        if not (np.isfinite(self.step) and self.step > 0):
            raise InputError(f"Gathers: step={self.step!r} s; it must be a positive number")
        for name, array in (("values", values), ("sources", sources), ("receivers", receivers)):
            if not np.all(np.isfinite(array)):
                raise InputError(f"Gathers: {name} hold NaN or infinity, first at "
                                 f"{tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])}; "
                                 "all must be finite: mend or drop those traces")

    def __repr__(self) -> str:
        shots, receivers, steps = self.values.shape
        return f"Gathers {shots} shots, {receivers} receivers, {steps} steps of {self.step:g} s"

    def write(self, results: Results, group: str = "") -> None:
        """Stage the gathers and their geometry in a result file, under a group."""
        prefix = f"{group.strip('/')}/" if group.strip("/") else ""
        axes = (Axis("shot"), Axis("receiver"), Axis("time", "s", self.step))
        results.write(f"{prefix}gathers", self.values, self.unit, axes)
        results.write(f"{prefix}sources", self.sources, "m", (Axis("shot"), Axis("source"), Axis("axis")))
        results.write(f"{prefix}receivers", self.receivers, "m", (Axis("shot"), Axis("receiver"), Axis("axis")))


def write_gathers(path: str | Path, gathers: Gathers) -> None:
    """Write gathers to a new HDF5 file: datasets `gathers` (with its time step), `sources`, `receivers`; an old file is replaced in one
    step.

    Raises: FileError if it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_gathers(f"{folder}/observed.h5", Gathers(np.ones((1, 3, 9)), 4e-3, np.zeros((1, 1, 2)), np.zeros((1, 3, 2))))
    ...     read_gathers(f"{folder}/observed.h5")
    Gathers 1 shots, 3 receivers, 9 steps of 0.004 s
    """
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise FileError(f"write_gathers(path={str(path)!r}): {what}; give the name of a file in a folder that exists, such as observed.h5")
    beside = Results(path.with_name(f"{path.name}.new"))
    try:
        beside.path.unlink(missing_ok=True)
        gathers.write(beside)
        beside.save()
        os.replace(beside.path, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.path.unlink()
        if isinstance(error, FileError):
            raise
        raise FileError(f"write_gathers(path={str(path)!r}): could not be written ({error.strerror or error}); free some space, or give "
                        "a folder that can be written") from error


def read_gathers(path: str | Path, argument: str = "observed") -> Gathers:
    """Return gathers from "file.h5", or from a group of it: "result.h5:/observed".

    Raises: FileError if the file or one of its datasets is missing, truncated or malformed, shapes disagree, or numbers are not finite.

    >>> read_gathers("absent.h5:/observed")
    Traceback (most recent call last):
    hyperion.errors.FileError: observed='absent.h5': no such file; give the path of an HDF5 file
    """
    file, group = split_dataset(str(path))
    name = f"{argument}={str(path)!r}"
    with open_hdf5(file, argument) as opened:
        base = opened[group] if group and group in opened else opened if not group else None
        if not isinstance(base, h5py.Group):
            raise FileError(f"{name}: has no group {group!r}; it holds {', '.join(opened) or 'nothing'}")
        missing = [key for key in ("gathers", "sources", "receivers") if not isinstance(base.get(key), h5py.Dataset)]
        if missing:
            raise FileError(f"{name}: has no dataset {', '.join(missing)}; it holds {', '.join(base) or 'nothing'}; "
                            "write it with hyperion.io.write_gathers, or name the group as file.h5:/group")
        data = base["gathers"]
        steps = data.attrs.get("axes_step")
        if steps is None or len(np.atleast_1d(steps)) != 3:
            raise FileError(f"{name}: gathers have no attribute axes_step = [1, 1, time step in s]; write the file with "
                            "hyperion.io.write_gathers")
        try:
            arrays = [np.asarray(base[key]) for key in ("gathers", "sources", "receivers")]
        except OSError as error:
            raise FileError(f"{name}: cannot be read ({error}); the file may be truncated: copy it again") from error
        for array in arrays:
            if array.dtype.kind not in "iuf":
                raise FileError(f"{name}: holds {array.dtype} values; gathers and positions are real numbers")
        try:
            return Gathers(arrays[0], float(np.atleast_1d(steps)[2]), arrays[1], arrays[2], str(data.attrs.get("unit", "")))
        except (ShapeError, InputError) as error:
            raise FileError(f"{name}: {error}") from error
