"""Snapshots of fields for ParaView: HDF5 numbers, and an XDMF file that says what they are."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from hyperion.errors import FileError, InputError, ShapeError
from hyperion.io.files import hdf5_image, write_bytes
from hyperion.io.results import Axis, axis_attributes, write_dataset

__all__ = ["FieldSeries"]


class FieldSeries:
    """A time series of fields on a regular 2-D or 3-D grid, written snapshot by snapshot.

    Makes `name.xdmf` (open this in ParaView), `name.h5` (every field as one array (times, nz, nx), for h5py) and the folder `name` with one
    HDF5 file for each snapshot, to which the other two point. All are whole after every `append`, so a run that is killed leaves what it
    had reached.

    path: folder and name without ending. shape: (nz, nx) or (nz, ny, nx). spacing, origin: [m], one number for each axis.
    units: unit of each field by name. replace: remove an earlier series of that name.
    Raises: ShapeError if the arguments disagree; FileError if files of that name exist or cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     series = FieldSeries(f"{folder}/fields", (3, 4), (10.0, 10.0), units={"p": "Pa"})
    ...     for step in (0, 50):
    ...         series.append(step, step * 1e-3, {"p": np.full((3, 4), step, np.float32)})
    ...     with h5py.File(f"{folder}/fields.h5") as file:
    ...         print(file["p"].shape, file["p"][1, 0, 0], file["time"][:])
    (2, 3, 4) 50.0 [0.   0.05]
    """

    def __init__(
        self,
        path: str | Path,
        shape: Sequence[int],
        spacing: Sequence[float],
        origin: Sequence[float] | None = None,
        units: Mapping[str, str] | None = None,
        replace: bool = False,
    ):
        self.path = Path(path)
        self.shape = tuple(int(n) for n in shape)
        self.spacing = tuple(float(h) for h in spacing)
        self.origin = tuple(float(o) for o in origin) if origin is not None else (0.0,) * len(self.shape)
        self.units = dict(units or {})
        self.times: list[float] = []
        self.steps: list[int] = []
        self.names: tuple[str, ...] = ()
        self.dtypes: dict[str, np.dtype] = {}
        if len(self.shape) not in (2, 3) or len(self.spacing) != len(self.shape) or len(self.origin) != len(self.shape):
            raise ShapeError(f"FieldSeries: shape={self.shape}, spacing={self.spacing}, origin={self.origin}; all need 2 or all need 3 "
                             "numbers")
        earlier = [*self.path.glob("[0-9]*.h5"), *(path for path in (self._beside(".xdmf"), self._beside(".h5")) if path.exists())]
        if earlier and not replace:
            raise FileError(f"FieldSeries: {earlier[0]} exists; remove it, give replace=True, or give another name")
        try:
            for path in earlier:
                path.unlink()
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"FieldSeries: {self.path} cannot be made ({error.strerror}); give a folder you may write to") from error

    def __repr__(self) -> str:
        return f"FieldSeries {self.path}.xdmf, {'x'.join(map(str, self.shape))}, {len(self.times)} snapshots"

    def append(self, step: int, time: float, fields: Mapping[str, np.ndarray]) -> None:
        """Add one snapshot: its step, its time [s] and its fields, each of the grid's shape, the same ones every time.

        Raises: ShapeError for another shape; InputError for other fields or a time that does not grow; FileError on a full disk.
        """
        arrays = {name: np.asarray(values) for name, values in fields.items()}
        for name, array in arrays.items():
            if array.shape != self.shape:
                raise ShapeError(f"FieldSeries.append: field {name!r} has shape {array.shape}; the grid has {self.shape}")
        if self.times and (tuple(arrays) != self.names or time <= self.times[-1] or step <= self.steps[-1]):
            raise InputError(f"FieldSeries.append: fields {tuple(arrays)} at step {step}, {time:g} s, after {self.names} at step "
                             f"{self.steps[-1]}, {self.times[-1]:g} s; the fields must stay the same and time must grow")
        axes = [Axis(*described) for described in zip(("depth", "width", "distance"), ("m",) * 3, *self._slab(), strict=True)]
        with hdf5_image(self.path / f"{step:08d}.h5") as file:
            file.attrs["time"] = float(time)
            for name, array in arrays.items():
                write_dataset(file, name, array.reshape(self._nodes()), {"unit": self.units.get(name, "")} | axis_attributes(axes))
        self.names, self.dtypes = tuple(arrays), {name: array.dtype for name, array in arrays.items()}
        self.times.append(float(time))
        self.steps.append(int(step))
        self.write_index()
        write_bytes(self._beside(".xdmf"), self.xdmf().encode())

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)

    def _nodes(self) -> tuple[int, ...]:
        """The shape of a snapshot in its file: (nz, ny, nx), with ny = 1 for a section."""
        return self.shape if len(self.shape) == 3 else (self.shape[0], 1, self.shape[1])

    def _slab(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Spacing and origin along all three axes."""
        if len(self.shape) == 3:
            return self.spacing, self.origin
        return (self.spacing[0], self.spacing[1], self.spacing[1]), (self.origin[0], 0.0, self.origin[1])

    def write_index(self) -> None:
        """Write the file in which all snapshots of a field appear as one array."""
        with hdf5_image(self._beside(".h5")) as file:
            write_dataset(file, "time", np.array(self.times), {"unit": "s"})
            for name in self.names:
                layout = h5py.VirtualLayout((len(self.steps), *self.shape), self.dtypes[name])
                for row, step in enumerate(self.steps):
                    layout[row] = h5py.VirtualSource(f"{self.path.name}/{step:08d}.h5", name, self._nodes())
                dataset = file.create_virtual_dataset(name, layout)
                dataset.attrs["unit"] = self.units.get(name, "")
                dataset.attrs["spacing"] = self.spacing
                dataset.attrs["origin"] = self.origin

    def xdmf(self) -> str:
        """Return the XDMF text: a temporal collection of uniform grids, axes from the slowest to the fastest (z, y, x).

        A section is a slab one node wide, so that distance is x and depth is z in the viewer; as a 2-D mesh VTK would show it in y and z.
        """
        sizes = " ".join(map(str, self._nodes()))
        spacing, origin = (" ".join(f"{x:.17g}" for x in numbers) for numbers in self._slab())
        lines = ['<?xml version="1.0" ?>', '<Xdmf Version="2.0">', "<Domain>",
                 '<Grid Name="series" GridType="Collection" CollectionType="Temporal">']
        for step, time in zip(self.steps, self.times, strict=True):
            lines += [
                f'<Grid Name="step {step}" GridType="Uniform">',
                f'<Time Value="{time:.17g}"/>',
                f'<Topology TopologyType="3DCoRectMesh" Dimensions="{sizes}"/>',
                '<Geometry GeometryType="ORIGIN_DXDYDZ">',
                f'<DataItem Dimensions="3" NumberType="Float" Precision="8" Format="XML">{origin}</DataItem>',
                f'<DataItem Dimensions="3" NumberType="Float" Precision="8" Format="XML">{spacing}</DataItem>',
                "</Geometry>",
            ]
            for name in self.names:
                unit = self.units.get(name, "")
                label = html.escape(f"{name} [{unit}]" if unit else name, quote=True)
                lines += [
                    f'<Attribute Name="{label}" AttributeType="Scalar" Center="Node">',
                    f'<DataItem Dimensions="{sizes}" NumberType="Float" Precision="{self.dtypes[name].itemsize}" Format="HDF">'
                    f"{html.escape(f'{self.path.name}/{step:08d}.h5:/{name}')}</DataItem>",
                    "</Attribute>",
                ]
            lines.append("</Grid>")
        return "\n".join([*lines, "</Grid>", "</Domain>", "</Xdmf>", ""])
