"""Velocity models from files: .npy, HDF5 and raw numbers, checked before anything is computed from them."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from hyperion.errors import FileError, InputError, ShapeError, nearest
from hyperion.io.files import open_hdf5, split_dataset

__all__ = ["read_model"]

# Slower than any soil and faster than any rock: what lies outside is a wrong unit, type or byte order.
PLAUSIBLE = (50.0, 20000.0)        # [m/s]
UNITS = {
    "m/s": lambda x: x,
    "km/s": lambda x: 1000.0 * x,
    "s2/km2": lambda x: 1000.0 / np.sqrt(x),
}
RAW_TYPES = ("float32", "float64")
BYTE_ORDERS = {"little": "<", "big": ">"}


def read_model(
    path: str | Path,
    *,
    shape: Sequence[int] = (),
    fastest: str = "x",
    dtype: str = "float32",
    unit: str = "m/s",
    byte_order: str = "little",
    argument: str = "model",
) -> np.ndarray:
    """Return a velocity model from a file, in m/s, with depth along the first axis.

    path: `name.npy`, `name.h5:/dataset`, or any other name for raw numbers without a header.
    shape: (nz, nx) or (nz, ny, nx); needed for raw files, checked for the others if given.
    fastest: the axis whose neighbours lie side by side in the file: "x" (C order of (nz, nx)) or "z" (one trace of depths after the other;
        an array of shape (nx, nz) in .npy and HDF5).
    dtype, byte_order: of raw files: "float32" or "float64", "little" or "big".
    unit: of the numbers in the file: "m/s", "km/s" or "s2/km2" (squared slowness).
    argument: the name of the option, for messages.
    Returns: (nz, nx) or (nz, ny, nx), float32 or float64 as in the file, contiguous.
    Raises: FileError if the file is missing, truncated, of the wrong size, or holds NaN, zero, negative or implausible values (outside
        50..20000 m/s); ShapeError if its shape is not `shape`; InputError for an unknown unit, type or axis.

    >>> import tempfile, os
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "vp.bin")
    ...     np.array([[1.5, 1.5, 2.0], [1.5, 1.6, 2.2]], "<f4").tofile(path)     # two columns of three depths
    ...     read_model(path, shape=(3, 2), fastest="z", unit="km/s")
    array([[1500., 1500.],
           [1500., 1600.],
           [2000., 2200.]], dtype=float32)
    """
    refuse_unknown("unit", unit, UNITS)
    refuse_unknown("dtype", dtype, RAW_TYPES)
    refuse_unknown("byte_order", byte_order, BYTE_ORDERS)
    refuse_unknown("fastest", fastest, ("x", "z"))
    shape = tuple(int(n) for n in shape)
    if shape and (len(shape) not in (2, 3) or min(shape) < 1):
        raise ShapeError(f"shape={list(shape)} of {argument}: it must be (nz, nx) or (nz, ny, nx), each at least 1")
    name = f"{argument}={str(path)!r}"
    file, dataset = split_dataset(str(path))
    if not file.is_file():
        raise FileError(f"{name}: {'is a folder' if file.is_dir() else 'no such file'}; give a .npy, .h5:/dataset or raw file")
    if file.suffix == ".npy":
        values = read_npy(file, name)
    elif file.suffix in (".h5", ".hdf5"):
        values = read_dataset(file, dataset, name, argument)
    else:
        values = read_raw(file, shape, fastest, BYTE_ORDERS[byte_order] + ("f4" if dtype == "float32" else "f8"), name)
    if values.ndim not in (2, 3):
        raise FileError(f"{name}: holds an array of shape {values.shape}; a model has 2 or 3 axes")
    if fastest == "z":
        values = values.T                                         # (nx, nz) -> (nz, nx), (nx, ny, nz) -> (nz, ny, nx)
    if shape and values.shape != shape:
        way_out = "; the axes seem swapped: use the other `fastest`" if values.T.shape == shape else "; correct shape= or leave it out"
        raise ShapeError(f"{name}: holds {values.shape} as (depth, ..., distance), shape={shape} was asked for{way_out}")
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    refuse_implausible(values, unit, name)
    return UNITS[unit](values).astype(values.dtype)


def refuse_unknown(argument: str, value: str, valid: Sequence[str] | dict) -> None:
    if value not in valid:
        raise InputError(f"{argument}={value!r}: {nearest(str(value), valid)}")


def real_array(values: np.ndarray, name: str) -> np.ndarray:
    """Return an array of numbers as float32 or float64."""
    if values.dtype.kind in "iub":
        return values.astype(np.float32)
    if values.dtype.kind != "f":
        raise FileError(f"{name}: holds {values.dtype} values; a model holds real numbers")
    return values.astype(np.float32) if values.dtype.itemsize < 4 else values


def read_npy(file: Path, name: str) -> np.ndarray:
    try:
        values = np.load(file, allow_pickle=False)                # Python objects in a file could run code: refused
    except (ValueError, EOFError, OSError) as error:
        raise FileError(f"{name}: not a whole .npy file ({error}); it may be truncated or hold Python objects: save it again with "
                        f"numpy.save") from error
    return real_array(values, name)


def read_dataset(file: Path, dataset: str, name: str, argument: str) -> np.ndarray:
    with open_hdf5(file, argument) as opened:
        found: list[str] = []
        opened.visititems(lambda key, item: found.append(f"/{key}") if isinstance(item, h5py.Dataset) else None)
        sections = [key for key in found if getattr(opened[key], "ndim", 0) in (2, 3)]
        wanted = "/" + dataset.strip("/") if dataset else sections[0] if len(sections) == 1 else ""
        if wanted not in found:
            what = f"has no dataset {wanted!r}; {nearest(wanted, found)}" if dataset else f"names no dataset; sections are {sections}"
            raise FileError(f"{name}: {what}; write {argument}={file}:{sections[0] if sections else '/name'}")
        item = opened[wanted]
        assert isinstance(item, h5py.Dataset)
        try:
            return real_array(np.asarray(item[()]), name)
        except OSError as error:
            raise FileError(f"{name}: the dataset cannot be read ({error}); the file may be truncated: copy it again") from error


def read_raw(file: Path, shape: tuple[int, ...], fastest: str, dtype: str, name: str) -> np.ndarray:
    size, itemsize = file.stat().st_size, np.dtype(dtype).itemsize
    if not shape:
        raise InputError(f"{name}: raw numbers have no header, so the shape must be given; the file has {size} bytes, that is "
                         f"{size / 4:g} float32 values")
    wanted = int(np.prod(shape)) * itemsize
    if size != wanted:
        sizes = " x ".join(str(n) for n in shape)
        other = "float64" if size == 2 * wanted else "float32" if 2 * size == wanted else ""
        if other:
            way_out = f"the size fits dtype={other!r}"
        elif size < wanted:
            way_out = "the file is truncated, or the shape is wrong"
        else:
            way_out = "the shape is wrong, or the file has a header"
        raise FileError(f"{name}: has {size} bytes, shape {sizes} of {np.dtype(dtype).name} needs {wanted}; {way_out}")
    return np.fromfile(file, dtype).reshape(shape[::-1] if fastest == "z" else shape)


def refuse_implausible(values: np.ndarray, unit: str, name: str) -> None:
    """Raise FileError for values that are no velocities, and say what would make them so."""
    low, high = PLAUSIBLE
    finite = np.isfinite(values)
    with np.errstate(all="ignore"):                               # the values may be anything: that is what is being found out
        speed = UNITS[unit](values)
        wrong = ~finite | ~(speed >= low) | ~(speed <= high)
        if not wrong.any():
            return
        for other in UNITS:
            if other != unit and plausible(UNITS[other](values)):
                raise FileError(f"{name}: values {values.min():g}..{values.max():g} are not velocities in {unit} "
                                f"({low:g}..{high:g} m/s); in {other} they would be: give unit={other!r}")
        if plausible(UNITS[unit](values.byteswap())):
            raise FileError(f"{name}: values such as {values[wrong][0]:g} {unit} are implausible ({low:g}..{high:g} m/s is the rule); "
                            "with the bytes "
                            "swapped they would be plausible: give byte_order='big' (or 'little' if it was 'big')")
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    count = int(wrong.sum())
    value = values[where]
    what = "NaN or infinite" if not finite[where] else "zero" if value == 0 else "negative" if value < 0 else "implausible"
    raise FileError(f"{name}: {count} of {values.size} values are not velocities; the first, at {where}, is {value:g} {unit} ({what}); "
                    f"the rule is {low:g}..{high:g} m/s: check type, unit, byte order and shape, or mend the file")


def plausible(speed: np.ndarray) -> bool:
    return bool(np.all((speed >= PLAUSIBLE[0]) & (speed <= PLAUSIBLE[1])))
