"""Snapshots: what XDMF says is what HDF5 holds."""

import xml.etree.ElementTree as xml

import h5py
import numpy as np
import pytest

from hyperion import io
from hyperion.errors import FileError, InputError, ShapeError


@pytest.mark.parametrize("shape, spacing, nodes, steps, start", [
    ((4, 5), (10.0, 20.0), (4, 1, 5), (10.0, 20.0, 20.0), (1.0, 0.0, 1.0)),          # a slab one node wide
    ((3, 4, 5), (10.0, 15.0, 20.0), (3, 4, 5), (10.0, 15.0, 20.0), (1.0, 1.0, 1.0)),
])
def test_xdmf_points_to_the_numbers(tmp_path, random, shape, spacing, nodes, steps, start):
    series = io.FieldSeries(tmp_path / "fields", shape, spacing, origin=[1.0] * len(shape), units={"p": "Pa"})
    fields = [{"p": random.random(shape).astype(np.float32), "v<x>": random.random(shape)} for _ in range(3)]
    for number, snapshot in enumerate(fields):
        series.append(10 * number, 0.01 * number, snapshot)
    root = xml.parse(tmp_path / "fields.xdmf").getroot()
    collection = root.find("Domain/Grid")
    assert collection is not None and collection.get("CollectionType") == "Temporal"
    grids = collection.findall("Grid")
    assert len(grids) == 3
    for number, (grid, snapshot) in enumerate(zip(grids, fields, strict=True)):
        assert float(grid.find("Time").get("Value")) == 0.01 * number
        assert grid.find("Topology").get("TopologyType") == "3DCoRectMesh" and grid.find("Geometry").get("GeometryType") == "ORIGIN_DXDYDZ"
        assert tuple(map(int, grid.find("Topology").get("Dimensions").split())) == nodes
        assert [tuple(map(float, item.text.split())) for item in grid.findall("Geometry/DataItem")] == [start, steps]
        for attribute, (name, values) in zip(grid.findall("Attribute"), snapshot.items(), strict=True):
            item = attribute.find("DataItem")
            file, _, dataset = item.text.partition(":")
            with h5py.File(tmp_path / file) as opened:
                assert np.array_equal(opened[dataset], values.reshape(nodes))
                assert opened[dataset].dtype.itemsize == int(item.get("Precision"))
            assert tuple(map(int, item.get("Dimensions").split())) == nodes
            assert attribute.get("Name") == ("p [Pa]" if name == "p" else name)
    with h5py.File(tmp_path / "fields.h5") as file:                # the same as one array
        assert np.array_equal(file["p"], np.stack([snapshot["p"] for snapshot in fields]))
        assert file["time"][:].tolist() == [0.0, 0.01, 0.02] and file["p"].attrs["unit"] == "Pa"


def test_refusals(tmp_path):
    with pytest.raises(ShapeError, match=r"spacing=\(1.0,\)"):
        io.FieldSeries(tmp_path / "f", (3, 4), (1.0,))
    series = io.FieldSeries(tmp_path / "f", (3, 4), (1.0, 1.0))
    with pytest.raises(ShapeError, match=r"'p' has shape \(4, 3\)"):
        series.append(0, 0.0, {"p": np.zeros((4, 3))})
    series.append(0, 0.0, {"p": np.zeros((3, 4))})
    for step, time, name in ((1, 0.0, "p"), (0, 1.0, "p"), (1, 1.0, "q")):
        with pytest.raises(InputError, match="time must grow"):
            series.append(step, time, {name: np.zeros((3, 4))})
    with pytest.raises(FileError, match="exists"):
        io.FieldSeries(tmp_path / "f", (3, 4), (1.0, 1.0))
    again = io.FieldSeries(tmp_path / "f", (3, 4), (1.0, 1.0), replace=True)
    assert not list(again.path.iterdir()) and not (tmp_path / "f.xdmf").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="cannot be made"):
        io.FieldSeries(tmp_path / "file" / "f", (3, 4), (1.0, 1.0))
