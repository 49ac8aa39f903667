"""PDEBench's HDF5 layouts as data sets of raw arrays.

one array     "tensor" (samples, times, space...), "x-coordinate"..., "t-coordinate": advection, Burgers, reaction-diffusion in 1-D
Darcy         "nu" (samples, x, y) to "tensor" (samples, 1, x, y)
compressible  "density", "pressure", "Vx", "Vy", "Vz" (samples, times, space...)
groups        "0000", "0001"... each with "data" (times, space..., fields) and "grid/t", "grid/x"...: shallow water, diffusion-reaction
incompressible "velocity", "particles" (samples, times, x, y, components), "force" (samples, x, y, 2), "t"
Source: Takamoto et al., NeurIPS 2022 (arXiv:2210.07182), and the readers of github.com/pdebench/PDEBench.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hyperion.errors import FileError
from hyperion.io.datasets import Dataset, refuse_nan
from hyperion.io.files import open_hdf5
from hyperion.io.results import Axis

__all__ = ["read_pdebench"]

FLOW = ("density", "pressure", "Vx", "Vy", "Vz")


def read_pdebench(path: str | Path, samples: slice = slice(None), argument: str = "data") -> Dataset:
    """Return a file of PDEBench: the state at the first time as input (the permeability for Darcy), all times as output.

    samples: which of them; only these are read. Several fields are stacked along a new axis after that of the times.
    Returns: Dataset with inputs {"initial": (samples, [fields,] space...)} and outputs {"solution": (samples, times, [fields,] space...)};
    of Darcy {"permeability"} and {"pressure"}, (samples, x, y).
    Raises: FileError, with the argument's name, for a file that is missing, damaged, of no such layout, or has NaN (with the sample).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with h5py.File(f"{folder}/burgers.h5", "w") as file:
    ...         file["tensor"], file["x-coordinate"], file["t-coordinate"] = np.ones((3, 5, 8)), np.arange(8) / 8, np.arange(6) / 5
    ...     read_pdebench(f"{folder}/burgers.h5", slice(2))
    Dataset initial 2x8, solution 2x5x8
    """
    path = Path(path)
    with open_hdf5(path, argument) as file:
        attributes = {key: value for key, value in file.attrs.items()}
        if "tensor" in file and "nu" in file:
            nu, pressure = _array(file, "nu")[samples], _array(file, "tensor")[samples]
            axes = (Axis("sample"), *_spaces(file, nu.ndim - 1))
            data = Dataset({"permeability": nu}, {"pressure": pressure[:, 0]}, {"permeability": axes, "pressure": axes}, attributes)
        elif "tensor" in file:
            data = _series(file, _array(file, "tensor")[samples], False, attributes)
        elif "density" in file:
            fields = [_array(file, name)[samples] for name in FLOW if name in file]
            data = _series(file, np.stack(fields, axis=2), True, attributes)
        elif "velocity" in file:
            data = _incompressible(file, samples, attributes)
        elif groups := sorted(str(name) for name, part in file.items() if isinstance(part, h5py.Group) and "data" in part):
            data = _groups(file, groups[samples], attributes)
        else:
            raise FileError(f"{argument}={str(path)!r}: holds {', '.join(sorted(file)[:8]) or 'nothing'}; expected a layout of PDEBench: "
                            "'tensor', 'density', 'velocity', or groups '0000', '0001'... with 'data'")
    for name, array in (*data.inputs.items(), *data.outputs.items()):
        refuse_nan(name, array, path, argument)
    return data


def _array(file: Any, name: str) -> Any:
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise FileError(f"{file.filename}: {name!r} is a group; expected an array")
    return found


def _axis(name: str, points: Any) -> Axis:
    values = np.asarray(points, dtype=np.float64)
    return Axis(name, "", float(values[1] - values[0]) if len(values) > 1 else 1.0, float(values[0]))


def _spaces(file: Any, count: int, names: tuple[str, ...] = ("x", "y", "z")) -> tuple[Axis, ...]:
    return tuple(_axis(n, file[f"{n}-coordinate"]) if f"{n}-coordinate" in file else Axis(n) for n in names[:count])


def _series(file: Any, solution: np.ndarray, fields: bool, attributes: dict[str, Any]) -> Dataset:
    time = _axis("time", file["t-coordinate"]) if "t-coordinate" in file else Axis("time")
    rest = ((Axis("field"),) if fields else ()) + _spaces(file, solution.ndim - 2 - fields)
    axes = {"initial": (Axis("sample"), *rest), "solution": (Axis("sample"), time, *rest)}
    return Dataset({"initial": solution[:, 0]}, {"solution": solution}, axes, attributes)


def _incompressible(file: Any, samples: slice, attributes: dict[str, Any]) -> Dataset:
    parts = [_array(file, name)[samples] for name in ("velocity", "particles") if name in file]
    solution = np.moveaxis(np.concatenate(parts, axis=-1), -1, 2)               # (samples, times, fields, x, y)
    times = np.asarray(file["t"])[0] if "t" in file and file["t"].ndim == 2 else np.asarray(file["t"]) if "t" in file else np.arange(2.0)
    rest = (Axis("field"), Axis("x"), Axis("y"))
    axes = {"initial": (Axis("sample"), *rest), "solution": (Axis("sample"), _axis("time", times), *rest)}
    inputs = {"initial": solution[:, 0]}
    if "force" in file:
        inputs["force"] = np.moveaxis(_array(file, "force")[samples], -1, 1)
        axes["force"] = (Axis("sample"), *rest)
    return Dataset(inputs, {"solution": solution}, axes, attributes)


def _groups(file: Any, names: list[str], attributes: dict[str, Any]) -> Dataset:
    if not names:
        raise FileError(f"{file.filename}: no sample was asked for")
    solution = np.stack([np.moveaxis(np.asarray(file[name]["data"]), -1, 1) for name in names])       # (samples, times, fields, space...)
    first = file[names[0]]
    grid = first["grid"] if "grid" in first else {}
    rest = (Axis("field"), *(_axis(n, grid[n]) if n in grid else Axis(n) for n in ("x", "y", "z")[:solution.ndim - 3]))
    time = _axis("time", grid["t"]) if "t" in grid else Axis("time")
    axes = {"initial": (Axis("sample"), *rest), "solution": (Axis("sample"), time, *rest)}
    return Dataset({"initial": solution[:, 0]}, {"solution": solution}, axes, attributes | dict(first.attrs))
