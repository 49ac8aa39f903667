"""The recorded graph as text (exact) and as a drawing (well-formed, boxes apart, arrows down, few crossings)."""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hyperion as hp
from hyperion.autograd import PRIMITIVES, general
from hyperion.autograd.drawing import Graph, graph
from hyperion.errors import FileError, InputError

SVG = "{http://www.w3.org/2000/svg}"


def layer(p: Any, x: Any) -> Any:
    return hp.sum(hp.tanh(hp.matmul(x, p["w"]) + p["b"]) * 2.0)


def network(weights: list[Any], x: Any) -> Any:
    for w in weights:
        x = x + hp.tanh(hp.matmul(x, w))
    return hp.sum(x * x)


def boxes(g: Graph) -> list[tuple[float, float, float, float]]:
    """Return x, y, width and height of the boxes drawn."""
    root = ElementTree.fromstring(g.svg())
    found = []
    for group in root.iter(f"{SVG}g"):
        box = group.find(f"{SVG}rect")
        assert box is not None
        x, y, width, height = (float(box.get(name, "nan")) for name in ("x", "y", "width", "height"))
        found.append((x, y, width, height))
    return found


def test_the_text() -> None:
    g = graph(layer)({"w": np.ones((2, 3)), "b": np.zeros(3)}, np.ones((4, 2), np.float32))
    assert repr(g) == "Graph of layer: arguments 3, operations 6, results 1"
    rows = [re.sub(r" +", " ", line.strip()) for line in str(g).splitlines()]
    assert rows[1:5] == [
        "p['w'] = argument (2, 3) float64", "p['b'] = argument (3,) float64", "x = argument (4, 2) float32",
        "v1 = astype(x, dtype=float64) (4, 2) float64",
    ]
    assert "v4 = tanh(v3) (4, 3) float64" in rows and "v5 = multiply(v4, 2) (4, 3) float64" in rows
    assert rows[-1] == "return v6"


def test_constants_leaves_and_results() -> None:
    weight, mask = hp.asarray([1.0, 2.0], requires_grad=True), np.array([3.0, 4.0])

    def f(x: Any, n: int) -> Any:
        return {"a": x * weight, "b": (x * mask)[:1], "c": hp.asarray(1.5), "n": n}

    text = str(graph(f)(hp.asarray([0.5, 0.5]), 3))
    assert re.search(r"x +=\ argument", text) and not re.search(r"^ +n +=", text, re.MULTILINE)
    assert re.search(r"p1 += requires_grad +\(2,\) float32", text) and re.search(r"c1 += constant +\(2,\) float64", text)
    assert re.search(r"getitem\(v\d, .*:1", text)
    assert re.search(r"return \['a'\] = v1, \['b'\] = v\d, \['c'\] = 1.5, \['n'\] = 3$", text)


def test_names_of_arguments() -> None:
    def f(x: Any, *rest: Any, scale: Any = 1.0) -> Any:
        return x + rest[0] + rest[1] * scale

    text = str(graph(f)(1.0, 2.0, 3.0, scale=hp.asarray(4.0)))
    for name in ("x", r"rest\[0\]", r"rest\[1\]", "scale"):
        assert re.search(rf"^  {name} += argument", text, re.MULTILINE)
    assert re.search(r"^  (x|argument0|inputs\[0\]) += argument", str(graph(hp.sin)(1.0)), re.MULTILINE)


def test_several_outputs_are_told_apart() -> None:
    op = general("test_two", lambda xp, x: (x, -x), lambda g, out, x: (x,), outputs=2)
    try:
        g = graph(lambda x: op(x)[1] * op(x)[0])(1.0)
        assert "multiply(v1[1], v2[0])" in str(g) and ">[1]<" in g.svg()
    finally:
        del PRIMITIVES["test_two"]


def test_the_graph_of_a_gradient_and_of_nothing() -> None:
    g = graph(hp.grad(lambda x: hp.sum(hp.sin(x))))(np.ones(2))
    assert "cos(" in str(g)
    plain = graph(lambda x: x)(1.0)
    assert str(plain).endswith("return x") and len(boxes(plain)) == 2
    assert "arguments 0, operations 0, results 0" in repr(graph(lambda: None)())


def test_recording_leaves_the_arguments_alone() -> None:
    x = hp.asarray([1.0, 2.0], requires_grad=True)
    with hp.no_grad():
        g = graph(lambda y: hp.sum(y * y))(x)
    assert "requires_grad" not in str(g) and "multiply(y, y)" in str(g) and x.grad is None


@pytest.mark.parametrize("depth", [1, 4, 12])
def test_boxes_stay_apart_and_arrows_point_down(depth: int) -> None:
    g = graph(network)([np.eye(3)] * depth, np.ones((2, 3)))
    found = boxes(g)
    assert len(found) == len(g.vertices)
    for a, b in itertools.combinations(found, 2):
        assert a[0] + a[2] < b[0] or b[0] + b[2] < a[0] or a[1] + a[3] < b[1] or b[1] + b[3] < a[1]
    root = ElementTree.fromstring(g.svg())
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in found)
    for path in root.iter(f"{SVG}path"):
        if path.get("marker-end"):
            ys = [float(y) for y in re.findall(r",(-?[\d.]+)", path.get("d", ""))]
            assert ys[-1] > ys[0]
    assert all(v.layer > source.layer for v in g.vertices for _, source in v.sources if source is not None)


def test_a_planar_graph_is_drawn_without_crossings() -> None:
    from hyperion.autograd import drawing

    def ladder(a: Any, b: Any) -> Any:
        for _ in range(8):
            a, b = hp.sin(a), hp.cos(b)
        return b * 2.0 + a

    g = graph(ladder)(np.ones(2), np.ones(3)[:2])
    assert drawing._Layout(g.vertices)._crossings() == 0


def test_what_must_be_escaped_is() -> None:
    g = graph(lambda p: hp.where(p["<a & b>"] < 1.0, 1.0, p["<a & b>"]))({"<a & b>": np.ones(2)})
    assert "&lt;a &amp; b&gt;" in g.svg() and len(boxes(g)) == len(g.vertices)


def test_writing(tmp_path: Path) -> None:
    g = graph(hp.sin)(1.0)
    assert g.svg(tmp_path / "graph.svg") == (tmp_path / "graph.svg").read_text(encoding="utf-8") == g._repr_svg_()
    with pytest.raises(FileError, match=r"svg\(path='.*missing.*graph.svg'\): could not be written"):
        g.svg(tmp_path / "missing" / "graph.svg")


def test_a_drawing_nobody_could_read_is_refused() -> None:
    def long(x: Any) -> Any:
        for _ in range(3000):
            x = hp.sin(x)
        return x

    g = graph(long)(1.0)
    assert len(str(g).splitlines()) == 3003
    with pytest.raises(InputError, match="over 2000 boxes and bends; print the graph"):
        g.svg()
