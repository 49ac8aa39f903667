"""Results that describe themselves: one HDF5 file of arrays with units and axes, readable with plain h5py."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from hyperion.errors import FileError, InputError, ShapeError
from hyperion.io.files import hdf5_image, open_hdf5

__all__ = ["Axis", "Results"]

SAVE_ABOVE = 64 * 2**20        # [bytes] staged arrays are written without being asked once they take this much memory


class Axis(NamedTuple):
    """One axis of an array: its name, its unit, the distance of two neighbours and the place of the first.

    >>> Axis("depth", "m", 20.0)
    Axis(name='depth', unit='m', step=20.0, start=0.0)
    """

    name: str
    unit: str = ""
    step: float = 1.0
    start: float = 0.0


class Results:
    """An HDF5 file that grows by named arrays and is whole at every moment.

    `write` stages, `save` makes a new file with old and new arrays and renames it into place. Every dataset is compressed and has the
    attributes `unit`, `axes`, `axes_unit`, `axes_step`, `axes_start` and those given. Writing a name again replaces the array.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     results = Results(Path(folder) / "result.h5")
    ...     results.write("models/true", np.full((2, 3), 1500.0), "m/s", (Axis("depth", "m", 20.0), Axis("distance", "m", 20.0)))
    ...     results.save()
    ...     with h5py.File(results.path) as file:
    ...         print(file["models/true"].shape, file["models/true"].attrs["unit"], list(file["models/true"].attrs["axes"]))
    (2, 3) m/s ['depth', 'distance']
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.staged: dict[str, tuple[np.ndarray, dict[str, object]]] = {}
        self.facts: dict[str, object] = {}

    def __repr__(self) -> str:
        return f"Results {self.path}, {len(self.staged)} arrays not saved yet"

    def write(self, name: str, values: object, unit: str = "", axes: tuple[Axis, ...] = (), **attributes: object) -> None:
        """Stage an array under a name such as "models/stage-1".

        values: an array or anything numpy.asarray takes, of numbers, booleans or text.
        unit: of the values. axes: one Axis for every axis, or none at all. attributes: text, numbers, or lists of them.
        Raises: ShapeError if the number of axes differs from the array's; InputError for values HDF5 has no type for.
        """
        array = np.array(values)                                  # a copy: what is staged must not change afterwards
        if array.dtype.kind not in "biufcUS":
            raise InputError(f"write({name!r}): values of {array.dtype} cannot be stored; give numbers, booleans or text")
        if axes and len(axes) != array.ndim:
            raise ShapeError(f"write({name!r}): {len(axes)} axes for an array of shape {array.shape}; give one Axis for each, or none")
        described = {"unit": unit} | (axis_attributes(axes) if axes else {})
        self.staged[name.strip("/")] = (array, described | attributes)
        if sum(array.nbytes for array, _ in self.staged.values()) > SAVE_ABOVE:
            self.save()

    def read(self, name: str) -> np.ndarray:
        """Return an array written earlier, in this process or before. Raises: FileError if there is none of that name."""
        name = name.strip("/")
        if name in self.staged:
            return self.staged[name][0].copy()
        with open_hdf5(self.path, "results") as file:
            if name not in file:
                raise FileError(f"results={str(self.path)!r}: has no {name!r}; it holds "
                                f"{', '.join(sorted(dataset_names(file))) or 'nothing'}")
            return np.asarray(file[name])

    def attributes(self) -> dict[str, object]:
        """Return the attributes of the file as a whole: its figures of merit."""
        with open_hdf5(self.path, "results") as file:
            return dict(file.attrs)

    def save(self) -> None:
        """Write what is staged; the file on disk is replaced in one step. Raises: FileError, the earlier file being kept."""
        if not self.staged and not self.facts:
            return
        with hdf5_image(self.path) as new:
            if self.path.exists():
                with open_hdf5(self.path, "results") as old:
                    new.attrs.update(old.attrs)
                    for name in dataset_names(old):
                        if name not in self.staged:
                            new.require_group(str(Path(name).parent))
                            old.copy(name, new, name)             # the compressed bytes as they are
            for name, (array, attributes) in self.staged.items():
                write_dataset(new, name, array, attributes)
            for key, value in self.facts.items():
                new.attrs[key] = value
        self.staged.clear()


def axis_attributes(axes: Sequence[Axis]) -> dict[str, object]:
    """Return the attributes that describe the axes of a dataset."""
    return {
        "axes": [axis.name for axis in axes],
        "axes_unit": [axis.unit for axis in axes],
        "axes_step": [float(axis.step) for axis in axes],
        "axes_start": [float(axis.start) for axis in axes],
    }


def dataset_names(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda key, item: names.append(key) if isinstance(item, h5py.Dataset) else None)
    return names


def write_dataset(file: h5py.File, name: str, array: np.ndarray, attributes: dict[str, object]) -> None:
    """Write one array with its attributes, compressed if it has a size worth it."""
    packing = {"compression": "gzip", "compression_opts": 4, "shuffle": True} if array.ndim and array.size > 64 else {}
    if array.dtype.kind == "U":
        dataset = file.create_dataset(name, data=array.astype(h5py.string_dtype()))
    else:
        dataset = file.create_dataset(name, data=array, **packing)
    for key, value in attributes.items():
        dataset.attrs[key] = value
    axes = attributes.get("axes", [])
    assert isinstance(axes, list)
    for dimension, label in enumerate(axes):
        dataset.dims[dimension].label = label                     # what netCDF readers and viewers show
