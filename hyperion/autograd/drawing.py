"""The recorded graph of a function as text and as a drawing (SVG), in layers from the inputs down to the results."""

import inspect
import itertools
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.graph import Node, recording
from hyperion.autograd.sweeps import Trace
from hyperion.autograd.tensor import Tensor, as_tensor, is_operand, make_leaf
from hyperion.autograd.trees import flatten, paths, unflatten
from hyperion.errors import FileError, InputError
from hyperion.gpu import device

__all__ = ["Graph", "graph"]

LARGEST = 2000                  # vertices of a drawing
CHARACTER, LINE = 7.3, 15.0     # [px] width of a character of the fixed-width font at 12 px, and distance of lines
GAP, RISE = 22.0, 46.0          # [px] between boxes side by side, and between layers
FILL = {                        # by kind of vertex: fill, border
    "argument": ("#dbe9f6", "#4878a8"), "leaf": ("#e6e0f3", "#75609f"), "constant": ("#efefef", "#8a8a8a"),
    "elementwise": ("#fdf3d3", "#b3923a"), "linear": ("#e0f1e1", "#5a945c"), "bilinear": ("#d6eeee", "#3f8c8c"),
    "general": ("#fbe2da", "#b8664a"), "result": ("#ffffff", "#303030"),
}


class Vertex:
    """One line of the text and one box of the drawing: an argument, a leaf, a constant, a recorded operation or a result.

    name: how others refer to it.  kind: a key of FILL.  head, params: what it does.  shapes: of its outputs.
    sources: names and vertices of what it uses; a vertex is None where the name says it all (a number).
    """

    __slots__ = ("centre", "head", "kind", "layer", "name", "params", "shapes", "sources")

    def __init__(self, name: str, kind: str, head: str, shapes: str, params: str = "") -> None:
        self.name = name
        self.kind = kind
        self.head = head
        self.shapes = shapes
        self.params = params
        self.sources: list[tuple[str, Vertex | None]] = []
        self.layer = 0
        self.centre = 0.0

    @property
    def expression(self) -> str:
        """What the vertex computes, as text."""
        if self.kind in ("argument", "leaf", "constant"):
            return self.head
        return f"{self.head}({', '.join([*(name for name, _ in self.sources), *([self.params] if self.params else [])])})"

    @property
    def lines(self) -> list[str]:
        """The lines of text in its box."""
        if self.kind == "result":
            return [self.name]
        title = self.name if self.kind == "argument" else self.head
        if any(source is None for _, source in self.sources):
            title += f"({', '.join('·' if source is not None else name for name, source in self.sources)})"
        return [title, *([_short(self.params, 34)] if self.params else []), self.shapes]

    @property
    def width(self) -> float:
        """Of the box [px]."""
        return max(len(line) for line in self.lines) * CHARACTER + 16.0

    @property
    def height(self) -> float:
        """Of the box [px]."""
        return len(self.lines) * LINE + 8.0


class Graph:
    """The recorded graph of one call of a function: its text is a line for each operation, `svg()` draws it.

    Made by `graph`; notebooks show the drawing.
    """

    def __init__(self, name: str, vertices: list[Vertex]) -> None:
        self.name = name
        self.vertices = vertices

    def __repr__(self) -> str:
        kinds = [vertex.kind for vertex in self.vertices]
        results, arguments, plain = kinds.count("result"), kinds.count("argument"), ("argument", "leaf", "constant", "result")
        operations = sum(1 for kind in kinds if kind not in plain)
        return f"Graph of {self.name}: arguments {arguments}, operations {operations}, results {results}"

    def __str__(self) -> str:
        rows = [(v.name, v.expression, v.shapes) for v in self.vertices if v.kind != "result"]
        left, middle = (max((len(row[i]) for row in rows), default=0) for i in (0, 1))
        middle = min(middle, 72)
        lines = [repr(self), *(f"  {name:<{left}} = {expression:<{middle}}  {shapes}" for name, expression, shapes in rows)]
        results = [f"{v.name.removeprefix('result') or ''}{' = ' if v.name != 'result' else ''}{v.sources[0][0]}"
                   for v in self.vertices if v.kind == "result"]
        return "\n".join([*lines, f"  return {', '.join(results)}"])

    def svg(self, path: str | Path | None = None) -> str:
        """Return the drawing as SVG text, and write it to a file if a path is given.

        Raises: InputError for a graph of more than 2000 boxes and bends, which nobody could read; FileError if it cannot be written.
        """
        text = _draw(self)
        if path is not None:
            try:
                Path(path).write_text(text, encoding="utf-8")
            except OSError as error:
                raise FileError(f"graph(f)(...).svg(path={str(path)!r}): could not be written ({error.strerror or error})") from error
        return text

    def _repr_svg_(self) -> str:
        return self.svg()


def graph(function: Callable[..., Any]) -> Callable[..., Graph]:
    """Return a function that, called like `function`, returns the graph of the operations that this call records.

    function: of trees of Tensors, arrays and numbers. Floating ones are the graph's arguments; others are passed on as they are.
    Returns: a function; its Graph has the operations as text, `str(g)` or `print(g)`, and `g.svg("graph.svg")` draws them.

    >>> import hyperion as hp
    >>> print(graph(lambda x, w: hp.sum(hp.tanh(x * w)))(hp.asarray([1.0, 2.0]), 3.0))
    Graph of <lambda>: arguments 2, operations 3, results 1
      x  = argument                            (2,) float32
      w  = argument                            () float32
      v1 = multiply(x, w)                      (2,) float32
      v2 = tanh(v1)                            (2,) float32
      v3 = sum(v2, axis=(0,), keepdims=False)  () float32
      return v3
    """
    title = getattr(function, "__qualname__", type(function).__name__).rpartition(".")[2]

    def record(*args: Any, **kwargs: Any) -> Graph:
        names, values = _bind(function, args, kwargs)
        leaves, structure = flatten(values)
        arguments: list[tuple[str, Tensor]] = []
        for i, (leaf, path) in enumerate(zip(leaves, paths(structure), strict=True)):
            position, _, rest = path[1:].partition("]")
            if is_operand(leaf) and is_inexact(as_tensor(leaf).dtype):
                leaves[i] = make_leaf(as_tensor(leaf).detach(), path)
                arguments.append((names[int(position)] + rest, leaves[i]))
        replaced = unflatten(structure, leaves)
        with recording(True):
            result = function(*replaced[:len(args)], **dict(zip(kwargs, replaced[len(args):], strict=True)))
        return Graph(title, _collect(arguments, result))

    return record


def _bind(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[str], tuple[Any, ...]]:
    """Return the names of a call's arguments, as far as the function tells, and their values."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        known: list[str] = []
    else:
        known = []
        for name, value in bound.arguments.items():
            several = bound.signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            known += [f"{name}[{i}]" for i in range(len(value))] if several else [name]
    names = [known[i] if i < len(known) else f"argument{i}" for i in range(len(args))]
    return [*names, *kwargs], (*args, *kwargs.values())


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most - 1] + "…"


def _value(value: Any) -> str:
    """Return a parameter as text."""
    if device.is_array(value) and value.ndim:
        return f"array {value.shape} {value.dtype}"
    if isinstance(value, slice):
        parts: list[Any] = [getattr(value, end) for end in ("start", "stop", "step")]       # pyright: ignore[reportUnknownArgumentType]
        shown = ["" if part is None else str(part) for part in parts]
        return ":".join(shown if shown[2] else shown[:2])
    if type(value) is tuple:
        items = [_value(item) for item in value]        # pyright: ignore[reportUnknownVariableType]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if value is Ellipsis:
        return "..."
    if isinstance(value, np.dtype | np.generic):
        return str(value)       # pyright: ignore[reportUnknownArgumentType]
    return _short(repr(value), 60)


def _params(node: Node) -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in node.params.items())


def _shape(x: Any) -> str:
    return f"{x.shape} {x.dtype}"


class _Naming:
    """The vertices made so far: by node, and constants by the Tensor's array."""

    def __init__(self) -> None:
        self.vertices: list[Vertex] = []
        self.nodes: dict[Node, Vertex] = {}
        self.constants: dict[int, tuple[Any, Vertex]] = {}      # with the array, so that its identity stays its own

    def add(self, vertex: Vertex) -> Vertex:
        self.vertices.append(vertex)
        return vertex

    def refer(self, x: Tensor) -> tuple[str, Vertex | None]:
        """Return how a Tensor is called, and its vertex; a number has none."""
        if x.node is not None:
            vertex = self.nodes[x.node]
            return (vertex.name if x.node.op is None or x.node.op.outputs == 1 else f"{vertex.name}[{x.index}]"), vertex
        if x.size == 1 and x.ndim == 0:
            number = x.item()
            return (f"{number:.6g}" if isinstance(number, float) else str(number)), None
        if id(x.data) not in self.constants:
            vertex = self.add(Vertex(f"c{len(self.constants) + 1}", "constant", "constant", _shape(x)))
            self.constants[id(x.data)] = (x.data, vertex)
        vertex = self.constants[id(x.data)][1]
        return vertex.name, vertex


def _collect(arguments: list[tuple[str, Tensor]], result: Any) -> list[Vertex]:
    """Return the vertices of a recorded graph, each after those it uses."""
    naming = _Naming()
    for name, x in arguments:
        if x.node is not None:
            naming.nodes[x.node] = naming.add(Vertex(name, "argument", "argument", _shape(x)))
    leaves, structure = flatten(result)
    outputs = [(path, as_tensor(x)) for x, path in zip(leaves, paths(structure), strict=True) if is_operand(x)]
    trace = Trace([x for _, x in outputs])
    count, others = itertools.count(1), itertools.count(1)
    for node in trace.nodes:
        inputs = node.inputs or ()
        for x in inputs:
            if x.node is not None and x.node.op is None and x.node not in naming.nodes:
                naming.nodes[x.node] = naming.add(Vertex(f"p{next(others)}", "leaf", "requires_grad", _shape(x)))
        sources = [naming.refer(x) for x in inputs]
        values: Any = node.output
        shapes = ", ".join(_shape(value) for value in (values if isinstance(values, tuple) else (values,)))     # pyright: ignore
        op: Any = node.op
        vertex = naming.add(Vertex(f"v{next(count)}", op.form, op.name, shapes, _params(node)))
        vertex.sources = sources
        naming.nodes[node] = vertex
    for path, x in outputs:
        if x.node is not None and x.node not in naming.nodes:
            naming.nodes[x.node] = naming.add(Vertex(f"p{next(others)}", "leaf", "requires_grad", _shape(x)))
        source = naming.refer(x)
        naming.add(Vertex(f"result{path}", "result", "result", _shape(x))).sources = [source]
    return naming.vertices


# The drawing: layers, order within a layer, places along it, SVG


class _Bend:
    """Where an edge that passes a layer crosses it; it takes part in ordering and placing like a box without width."""

    __slots__ = ("centre", "layer")
    width = 2.0

    def __init__(self, layer: int) -> None:
        self.layer = layer
        self.centre = 0.0


Spot = Vertex | _Bend


class _Layout:
    """Spots in layers, and the short edges from each layer to the next. routes: every edge as the spots it passes, with its label."""

    def __init__(self, vertices: list[Vertex]) -> None:
        self.layers: list[list[Spot]] = []
        self.above: dict[Spot, list[Spot]] = {}
        self.below: dict[Spot, list[Spot]] = {}
        self.routes: list[tuple[list[Spot], str]] = []
        _assign_layers(vertices)
        for vertex in vertices:
            self._place(vertex)
        for vertex in vertices:
            for name, source in vertex.sources:
                if source is not None:
                    self._route(source, vertex, name.removeprefix(source.name))
        self._order()
        self._spread()

    def _place(self, spot: Spot) -> None:
        while len(self.layers) <= spot.layer:
            self.layers.append([])
        self.layers[spot.layer].append(spot)
        self.above[spot], self.below[spot] = [], []
        if len(self.above) > LARGEST:
            raise InputError(f"graph(f)(...).svg(): the drawing has over {LARGEST} boxes and bends; print the graph, or draw a part of f")

    def _route(self, source: Vertex, target: Vertex, label: str) -> None:
        route: list[Spot] = [source]
        for layer in range(source.layer + 1, target.layer):
            bend = _Bend(layer)
            self._place(bend)
            route.append(bend)
        route.append(target)
        for upper, lower in itertools.pairwise(route):
            self.below[upper].append(lower)
            self.above[lower].append(upper)
        self.routes.append((route, label))

    def _order(self) -> None:
        """Reduce crossings: sort each layer by the mean place of neighbours, down and up, and keep the best order met (Sugiyama 1981)."""
        best, fewest = [list(layer) for layer in self.layers], self._crossings()
        for turn in range(24):
            if not fewest:
                break
            down = turn % 2 == 0
            beside = self.above if down else self.below
            layers = self.layers[1:] if down else self.layers[-2::-1]
            for layer in layers:
                place = {spot: i for row in self.layers for i, spot in enumerate(row)}
                layer.sort(key=lambda spot: _mean([place[other] for other in beside[spot]], place[spot]))
            count = self._crossings()
            if count < fewest:
                best, fewest = [list(layer) for layer in self.layers], count
        self.layers = best

    def _crossings(self) -> int:
        count = 0
        for upper, lower in itertools.pairwise(self.layers):
            place = {spot: i for i, spot in enumerate(lower)}
            ends = [end for spot in upper for end in sorted(place[other] for other in self.below[spot])]
            count += sum(1 for i, end in enumerate(ends) for later in ends[i + 1:] if later < end)
        return count

    def _spread(self) -> None:
        """Place the spots of each layer near their neighbours, in order and without overlap; straight long edges first."""
        for layer in self.layers:
            _settle(layer, [0.0] * len(layer))
        for turn in range(16):
            down = turn % 2 == 0
            for layer in self.layers if down else self.layers[::-1]:
                _settle(layer, [self._wish(spot, down) for spot in layer])
        left = min((spot.centre - spot.width / 2 for layer in self.layers for spot in layer), default=0.0)
        for layer in self.layers:
            for spot in layer:
                spot.centre -= left

    def _wish(self, spot: Spot, down: bool) -> float:
        """Return where a spot would stand for itself: below what it uses, or above what uses it; arguments do not pull a chain aside."""
        first, second = (self.above, self.below) if down else (self.below, self.above)
        near = first[spot] or second[spot]
        chain = [other for other in near if isinstance(other, _Bend) or other.sources]
        return _mean([other.centre for other in chain or near], spot.centre)


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _assign_layers(vertices: list[Vertex]) -> None:
    """Give each vertex the layer below all it uses; arguments and constants move down to just above where they are first used."""
    first: dict[Vertex, int] = {}
    for vertex in vertices:
        sources = [source for _, source in vertex.sources if source is not None]
        vertex.layer = 1 + max((source.layer for source in sources), default=-1)
        for source in sources:
            first[source] = min(first.get(source, vertex.layer), vertex.layer)
    for vertex, layer in first.items():
        if not any(source is not None for _, source in vertex.sources):
            vertex.layer = layer - 1


def _settle(layer: list[Spot], wishes: list[float]) -> None:
    """Place spots as near as possible to their wishes (least squares) with the gaps they need: isotonic regression, pooling neighbours."""
    offsets, pools = [0.0], list[tuple[float, float, int]]()      # a pool: weighted wish, weight, count
    for before, after in itertools.pairwise(layer):
        offsets.append(offsets[-1] + (before.width + after.width) / 2 + GAP)
    for spot, wish, offset in zip(layer, wishes, offsets, strict=False):
        weight = 4.0 if isinstance(spot, _Bend) else 1.0 if spot.sources else 0.02      # arguments stand beside a straight chain
        pool = ((wish - offset) * weight, weight, 1)
        while pools and pools[-1][0] / pools[-1][1] >= pool[0] / pool[1]:
            last = pools.pop()
            pool = (last[0] + pool[0], last[1] + pool[1], last[2] + pool[2])
        pools.append(pool)
    places = [total / weight for total, weight, count in pools for _ in range(count)]
    for spot, place, offset in zip(layer, places, offsets, strict=False):
        spot.centre = place + offset


def _draw(graph: Graph) -> str:
    """Return the drawing of a graph as SVG."""
    layout = _Layout(graph.vertices)
    tops, y = list[float](), 20.0
    for layer in layout.layers:
        tops.append(y)
        y += max((spot.height for spot in layer if isinstance(spot, Vertex)), default=0.0) + RISE
    parts: list[str] = []
    for route, label in layout.routes:
        parts.append(_edge(route, label, tops))
    for vertex in graph.vertices:
        parts.append(_box(vertex, tops[vertex.layer]))
    kinds = [kind for kind in FILL if any(vertex.kind == kind for vertex in graph.vertices)]
    legend, x = list[str](), 20.0
    for kind in kinds:
        fill, border = FILL[kind]
        legend.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="12" height="12" rx="3" fill="{fill}" stroke="{border}"/>'
                      f'<text x="{x + 17:.1f}" y="{y + 10:.1f}" font-size="11">{kind}</text>')
        x += 17.0 + len(kind) * CHARACTER + 16.0
    right = max((spot.centre + spot.width / 2 for layer in layout.layers for spot in layer), default=0.0)
    width, height = max(right + 40.0, x), y + 30.0
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="12">',
        f"<title>{escape(repr(graph))}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0.5 L8,4 L0,7.5 Z" fill="#606060"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        *parts, *legend, "</svg>\n",
    ])


def _edge(route: list[Spot], label: str, tops: list[float]) -> str:
    first, last = route[0], route[-1]
    start = tops[first.layer] + (first.height if isinstance(first, Vertex) else 0.0)
    points = [(first.centre + 20.0, start), *((spot.centre + 20.0, tops[spot.layer] + 18.0) for spot in route[1:-1]),
              (last.centre + 20.0, tops[last.layer] - 2.0)]
    curve = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        middle = (y0 + y1) / 2
        curve += f" C{x0:.1f},{middle:.1f} {x1:.1f},{middle:.1f} {x1:.1f},{y1:.1f}"
    text = f'<text x="{points[0][0] + 4:.1f}" y="{start + 12:.1f}" font-size="10" fill="#606060">{escape(label)}</text>' if label else ""
    return f'<path d="{curve}" fill="none" stroke="#606060" stroke-width="1.1" marker-end="url(#tip)"/>{text}'


def _box(vertex: Vertex, top: float) -> str:
    fill, border = FILL[vertex.kind]
    x, centre = vertex.centre - vertex.width / 2 + 20.0, vertex.centre + 20.0
    radius = 12.0 if vertex.kind in ("argument", "leaf", "constant", "result") else 4.0
    rows = [f'<g><title>{escape(f"{vertex.name} = {vertex.expression}: {vertex.shapes}")}</title>',
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{vertex.width:.1f}" height="{vertex.height:.1f}" rx="{radius:.0f}" '
            f'fill="{fill}" stroke="{border}"/>']
    for i, line in enumerate(vertex.lines):
        style = ' font-weight="bold"' if i == 0 else ' font-size="11" fill="#505050"'
        rows.append(f'<text x="{centre:.1f}" y="{top + 15.0 + i * LINE:.1f}" text-anchor="middle"{style}>{escape(line)}</text>')
    return "".join([*rows, "</g>"])
