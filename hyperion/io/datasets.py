"""Data sets for operator learning: one self-describing HDF5 file of inputs and outputs, and readers of others' layouts."""

import contextlib
import importlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from hyperion.errors import FileError, InputError
from hyperion.io.files import hdf5_image, open_hdf5, sync_folder
from hyperion.io.results import Axis, axis_attributes, dataset_names

__all__ = ["Dataset", "DatasetParts", "Stored", "read_dataset"]

FORMAT = "hyperion dataset 1"
MATLAB_PAIRS = (("coeff", "sol"), ("a", "u"))       # input and output in the files of the papers on the Fourier neural operator


@dataclass(frozen=True)
class Dataset:
    """Inputs and outputs of a data set as arrays with samples along axis 0.

    inputs, outputs: {name: array}. axes: {name: the Axis of each axis}, where the file says. attributes: what else it says, as it says it.
    """

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    axes: dict[str, tuple[Axis, ...]] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        parts = [f"{name} {'x'.join(map(str, array.shape))}" for name, array in (*self.inputs.items(), *self.outputs.items())]
        return f"Dataset {self.attributes.get('kind', '')} {', '.join(parts)}".replace("  ", " ")


def read_dataset(path: str | Path, samples: slice = slice(None), argument: str = "data") -> Dataset:
    """Return a data set: a file of `hyperion make-data`, or a Darcy or Burgers file in the layouts of neuraloperator and its papers.

    .h5, .hdf5: ours, or two arrays "x" and "y". .npz: two arrays "x" and "y", as neuraloperator's Darcy files hold them. .mat: "coeff" and
    "sol", or "a" and "u" (MATLAB 5, or 7.3). PDEBench's files: `read_pdebench`. samples: which of them; only these are read from HDF5.
    Raises: FileError, with the argument's name, for a file that is missing, damaged, of another layout, or a .pt file: those are pickles,
    which run code when they are read; NaN in an array is refused with the sample.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/darcy.npz", x=np.ones((2, 4, 4), bool), y=np.zeros((2, 4, 4)))
    ...     read_dataset(f"{folder}/darcy.npz")
    Dataset x 2x4x4, y 2x4x4
    """
    path = Path(path)
    if path.suffix in (".pt", ".pth", ".pkl"):
        raise FileError(f"{argument}={str(path)!r}: a pickle, which can run any code when it is read; convert it once with torch where you "
                        "trust it: d = torch.load(name); numpy.savez(name + '.npz', x=d['x'].numpy(), y=d['y'].numpy())")
    if path.suffix in (".h5", ".hdf5"):
        data = _from_hdf5(path, samples, argument)
    elif path.suffix == ".npz":
        data = _pair(_load_npz(path, argument), (("x", "y"),), path, samples, argument)
    elif path.suffix == ".mat":
        data = _pair(_load_matlab(path, argument), MATLAB_PAIRS, path, samples, argument)
    else:
        raise FileError(f"{argument}={str(path)!r}: unknown ending {path.suffix!r}; give an .h5, .npz or .mat file")
    for name, array in (*data.inputs.items(), *data.outputs.items()):
        refuse_nan(name, array, path, argument)
    return data


def refuse_nan(name: str, array: np.ndarray, path: Path, argument: str) -> None:
    """Raise FileError with the first sample that has a value that is NaN or infinite."""
    if array.dtype.kind in "fc":
        bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if bad.any():
            raise FileError(f"{argument}={str(path)!r}: {name} of sample {int(np.argmax(bad))} has values that are NaN or infinite "
                            f"({int(bad.sum())} samples have); leave them out, or make the file again")


def _from_hdf5(path: Path, samples: slice, argument: str) -> Dataset:
    with open_hdf5(path, argument) as file:
        if file.attrs.get("format") != FORMAT:
            return _pair({name: file[name] for name in dataset_names(file)}, (("x", "y"), *MATLAB_PAIRS), path, samples, argument)
        groups: dict[str, dict[str, np.ndarray]] = {"inputs": {}, "outputs": {}}
        axes: dict[str, tuple[Axis, ...]] = {}
        for place in dataset_names(file):
            role, _, name = place.partition("/")
            if role in groups:
                stored = file[place]
                assert isinstance(stored, h5py.Dataset)
                groups[role][name] = stored[samples]
                axes[name] = _axes(stored.attrs)
        return Dataset(groups["inputs"], groups["outputs"], axes, dict(file.attrs))


def _axes(attributes: Mapping[str, Any]) -> tuple[Axis, ...]:
    columns = [attributes[key] for key in ("axes", "axes_unit", "axes_step", "axes_start")]
    return tuple(Axis(str(name), str(unit), float(step), float(start)) for name, unit, step, start in zip(*columns, strict=True))


def _pair(arrays: Mapping[str, Any], pairs: tuple[tuple[str, str], ...], path: Path, samples: slice, argument: str) -> Dataset:
    for given, wanted in pairs:
        if given in arrays and wanted in arrays:
            x, y = (np.asarray(arrays[name][samples]) for name in (given, wanted))
            if len(x) != len(y):
                raise FileError(f"{argument}={str(path)!r}: {given} has {len(x)} samples, {wanted} has {len(y)}; they must agree")
            if not len(x):
                raise FileError(f"{argument}={str(path)!r}: no samples are there; make the file again, or ask for others than {samples}")
            return Dataset({given: x}, {wanted: y})
    expected = " or ".join(f"{given!r} and {wanted!r}" for given, wanted in pairs)
    raise FileError(f"{argument}={str(path)!r}: holds {', '.join(sorted(arrays)) or 'nothing'}; expected {expected}. Files of PDEBench are "
                    "read by hyperion.io.read_pdebench")


def _load_npz(path: Path, argument: str) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise FileError(f"{argument}={str(path)!r}: no such file; give the path of an .npz file") from error
    except Exception as error:                                    # zipfile, NumPy and the file system each have their own
        raise FileError(f"{argument}={str(path)!r}: cannot be read as .npz ({error}); copy or make it again") from error


def _load_matlab(path: Path, argument: str) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileError(f"{argument}={str(path)!r}: no such file; give the path of a .mat file")
    if h5py.is_hdf5(path):                     # MATLAB 7.3: HDF5 with the axes reversed
        with open_hdf5(path, argument) as file:
            return {str(name): np.asarray(file[name]).T for name in file if isinstance(file[name], h5py.Dataset)}
    try:
        with open(path, "rb") as raw:
            found = importlib.import_module("scipy.io").loadmat(raw)
        return {name: value for name, value in found.items() if not name.startswith("_")}
    except Exception as error:                                    # scipy raises classes of its own and plain ones
        raise FileError(f"{argument}={str(path)!r}: cannot be read as MATLAB ({error}); copy or make it again") from error


class Stored(NamedTuple):
    """How an array is described in the file: its unit and its axes, that of the samples first."""

    unit: str
    axes: tuple[Axis, ...]


class DatasetParts:
    """The batches of a data set that is being made, in the folder `path` + ".parts", and the file they are joined to.

    described: attributes of the file as a whole. stored: {place in the file: how it is described}.
    While it is open the folder is locked: a second process is refused.
    complete: whether the file is there already, made with the same attributes.
    """

    def __init__(self, path: Path, described: Mapping[str, Any], stored: Mapping[str, Stored], resume: bool, overwrite: bool):
        self.path, self.described, self.stored = path, dict(described), dict(stored)
        self.folder = path.with_name(path.name + ".parts")
        self.complete = False
        self._lock: Any = None
        if path.suffix not in (".h5", ".hdf5"):
            raise InputError(f"out={str(path)!r}: give a name that ends in .h5")
        if resume and overwrite:
            raise InputError("--resume and --overwrite exclude each other: one goes on with the file, the other replaces it; give one")
        if not path.parent.is_dir():
            raise FileError(f"out={str(path)!r}: there is no folder {path.parent}; make it first")
        try:
            self._settle(resume, overwrite)
        except BaseException:
            self._unlock()
            raise

    def _settle(self, resume: bool, overwrite: bool) -> None:
        out = f"out={str(self.path)!r}"
        if self.path.exists():
            if not (resume or overwrite):
                raise FileError(f"{out}: exists; add --overwrite to replace it, or give another --out")
            if resume:
                with open_hdf5(self.path, "out") as file:
                    self._refuse_other(dict(file.attrs))
                self.complete = True
                return
        if self.folder.exists() and not self.folder.is_dir():
            raise FileError(f"{out}: {self.folder} is in the way; move it")
        if self._begun() and not (resume or overwrite):
            raise FileError(f"{out}: a run was interrupted and left {self.folder}; add --resume to go on with it, or --overwrite to start "
                            "again")
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise FileError(f"{out}: {self.folder} cannot be made ({error.strerror}); give another --out") from error
        self._take_lock()
        if overwrite or not self._begun():
            for file in self.folder.glob("*.h5*"):
                file.unlink()
        about = self.folder / "about.h5"
        if about.exists():
            with open_hdf5(about, "out") as file:
                self._refuse_other(dict(file.attrs))
        else:
            with hdf5_image(about) as file:
                file.attrs.update(self.described)

    def _refuse_other(self, before: dict[str, Any]) -> None:
        plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in before.items()}
        differ = [f"{key} was {plain.get(key)!r}, now {value!r}" for key, value in self.described.items() if plain.get(key) != value]
        if differ:
            raise InputError(f"--resume: {self.path} was begun with other options: {'; '.join(differ)}; give the same, or --overwrite")

    def _take_lock(self) -> None:
        self._lock = open(self.folder / "lock", "ab")             # stays open as long as the data set is being made
        try:
            with contextlib.suppress(ImportError):                # a system without flock: two runs are the user's to avoid
                fcntl = importlib.import_module("fcntl")
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"out={str(self.path)!r}: another process is making it; wait for it to end, or give another --out") from None

    def __enter__(self) -> "DatasetParts":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._lock is not None and not self._begun():          # nothing was made: leave nothing behind
            shutil.rmtree(self.folder)
        self._unlock()

    def _begun(self) -> bool:
        """Tell whether a batch is there."""
        return any(self.folder.glob("[0-9]*.h5"))

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def has(self, number: int) -> bool:
        """Tell whether a batch is on disk."""
        return (self.folder / f"{number:08d}.h5").exists()

    @staticmethod
    def keep(folder: Path, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one batch in one step. Raises: FileError if the disk is full."""
        with hdf5_image(folder / f"{number:08d}.h5") as file:
            for place, array in arrays.items():
                file.create_dataset(place, data=array.astype(h5py.string_dtype()) if array.dtype.kind == "U" else array)

    def join(self, batches: int, samples: int) -> None:
        """Write the file from all batches, in one step, and remove them. Raises: FileError if the disk is too full; they then stay."""
        parts = [self.folder / f"{i:08d}.h5" for i in range(batches)]
        needed, free = sum(part.stat().st_size for part in parts), shutil.disk_usage(self.folder).free
        if free < 1.05 * needed + 2**20:                          # beforehand: the HDF5 library crashes on a disk that fills up
            raise FileError(f"out={str(self.path)!r}: joining the batches takes {needed / 2**20:.0f} MiB, {free / 2**20:.0f} are free; "
                            "free some space and add --resume: the samples are kept")
        whole = self.folder / "joined.h5.part"
        with h5py.File(whole, "w") as new:
            new.attrs.update({"format": FORMAT} | self.described)
            first = 0
            for part in parts:
                with open_hdf5(part, "out") as batch:
                    size = batch["seeds"].shape[0]                # type: ignore[union-attr]
                    for place, stored in self.stored.items():
                        array = batch[place]
                        if first == 0:
                            self._create(new, place, stored, array, samples)
                        new[place][first:first + size] = array[...]         # type: ignore[index]
                    first += size
        with open(whole, "rb") as file:
            os.fsync(file.fileno())
        os.replace(whole, self.path)
        sync_folder(self.path.parent)
        self._unlock()
        shutil.rmtree(self.folder)

    def _create(self, new: h5py.File, place: str, stored: Stored, batch: Any, samples: int) -> None:
        shape = (samples, *batch.shape[1:])
        text = h5py.check_string_dtype(batch.dtype) is not None
        packing = {} if text or len(shape) < 2 else {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        dataset = new.create_dataset(place, shape, batch.dtype, chunks=(1, *shape[1:]) if packing else None, **packing)
        for key, value in {"unit": stored.unit, **axis_attributes(stored.axes)}.items():
            dataset.attrs[key] = value
        for dimension, axis in enumerate(stored.axes):
            dataset.dims[dimension].label = axis.name
