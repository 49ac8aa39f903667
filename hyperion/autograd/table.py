"""The table of primitives: each operation is one stanza in one of four forms.

elementwise   give the partial derivatives: vjp and jvp follow, so they cannot disagree; broadcasting and promotion are handled here, once
linear        give the transpose: the jvp is the operation itself
bilinear      linear in each of two inputs (a product): give the transpose in each; the jvp is the product rule
general       give the vjp and the jvp

Arrays are inputs, never parameters: integer and bool inputs have no derivative and are passed on as they are. Parameters are plain Python
values. Complex derivatives follow JAX's convention: cotangents are paired with tangents by Re(sum(w * z)), so holomorphic rules multiply
by f'(z), transposes do not conjugate, and the gradient of a real loss is dL/dx - i dL/dy.

Every rule is written on Tensors, so every transform nests to any order. `forward(xp, *arrays, **params)` works on raw arrays; that of an
elementwise operation uses only functions of `xp` and operators, so that a compiler may call it with a namespace of its own.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperion.autograd.batching import Batched, BatchRule, call_batched
from hyperion.autograd.dtypes import BFLOAT16, DOUBLE, FLOAT, SCALARS, is_inexact, result_dtype, weak_dtype
from hyperion.autograd.graph import SHARED, Node, state, watch
from hyperion.autograd.mapping import mapped
from hyperion.autograd.memory import out_of_memory
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.errors import DeviceError, DtypeError, GraphError, HyperionError, IndexingError, InputError, ShapeError
from hyperion.gpu import device

__all__ = ["PRIMITIVES", "Primitive", "Rule", "as_tensors", "bilinear", "elementwise", "explained", "general", "linear"]

PRIMITIVES: "dict[str, Primitive]" = {}

# A function of any arity; spelled out so that the type checker knows the parameters of the lambdas in a stanza.
Rule = (
    Callable[[Any], Any]
    | Callable[[Any, Any], Any]
    | Callable[[Any, Any, Any], Any]
    | Callable[[Any, Any, Any, Any], Any]
    | Callable[[Any, Any, Any, Any, Any], Any]
    | Callable[[Any, Any, Any, Any, Any, Any], Any]
    | Callable[..., Any]
)
ndarray = np.ndarray
REALS = (float, int)
NUMBERS: tuple[dict[float, Tensor], dict[float, Tensor]] = ({}, {})       # constants of float32 and of float64, by value
FAR_NUMBERS: dict[Any, Tensor] = {}         # those on GPUs, by value, dtype and device


class Primitive:
    """One row of the table: an operation that is recorded when an input is tracked.

    Call it with Tensors, arrays or numbers; parameters by keyword go to `forward` and to the rules unchanged.

    name: key in PRIMITIVES.  form: "elementwise", "linear", "bilinear" or "general".
    outputs: number of outputs; None: a tuple of any length.
    forward, vjp, jvp: the rules (vjp or jvp None: none is known).  partials, transpose: what the first two forms were given.
    degree: 1 if linear in its floating inputs together, 2 if bilinear in two; None otherwise. Taylor coefficients follow directly.
    batch: how it works on batches (see batching); None: a loop over the examples.
    pull(g, out, inputs, params): the vjp on NumPy arrays (g: a list, with None for some, if there are several outputs), for sweeps that are
        not recorded. None, or None returned by it: the vjp serves.  everywhere: whether it takes CuPy arrays too; set after construction.
    """

    def __init__(
        self, name: str, form: str, forward: Callable[..., Any], vjp: Callable[..., Any] | None, jvp: Callable[..., Any] | None, *,
        outputs: int | None = 1, promotes: bool = False, floating: bool = False, differentiable: bool = True,
        partials: tuple[Any, ...] = (), transpose: Callable[..., Any] | None = None, degree: int | None = None,
        batch: BatchRule | None = None, pull: Callable[..., Any] | None = None, doc: str = "", register: bool = True,
    ) -> None:
        self.name = name
        self.form = form
        self.forward = forward
        self.vjp = vjp
        self.jvp = jvp
        self.outputs = outputs
        self.promotes = promotes or floating
        self.floating = floating
        self.differentiable = differentiable
        self.partials = partials
        self.transpose = transpose
        self.degree = degree
        self.batch = batch
        self.pull = pull
        self.everywhere = False
        self.keeps = name != "astype"       # whether bfloat16 stays bfloat16
        self.__name__ = name
        self.__doc__ = doc or f"The {form} operation {name!r}."
        self.__signature__ = _signature(forward)
        if not register:
            return
        if name in PRIMITIVES and _place(PRIMITIVES[name].forward) != _place(forward):
            raise InputError(f"name={name!r} is already in the table of primitives; choose another name")
        PRIMITIVES[name] = self

    def __repr__(self) -> str:
        return f"Primitive {self.name}, {self.form}"

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        # The common case first: one or two NumPy arrays of one floating dtype, or such an array and a number.
        count = len(inputs)
        if 0 < count < 3 and self.outputs == 1:
            if count == 1:
                x = y = inputs[0]
            else:
                x, y = inputs
                if type(x) is not Tensor:
                    x = _beside(x, y)
                    inputs = (x, y)
                elif type(y) is not Tensor:
                    y = _beside(y, x)
                    inputs = (x, y)
            if type(x) is Tensor and type(a := x.data) is ndarray and ((dtype := a.dtype) is FLOAT or dtype is DOUBLE):
                if type(y) is Tensor and type(b := y.data) is ndarray and b.dtype is dtype:
                    try:
                        data = self.forward(np, a, b, **params) if count == 2 else self.forward(np, a, **params)
                    except (ValueError, TypeError, IndexError, MemoryError) as error:
                        raise explained(self, inputs, error) from error
                    if type(data) is not ndarray and issubclass(type(data), np.generic):
                        data = np.asarray(data)         # NumPy returns scalars for arrays of shape ()
                    if (x.node is not None or y.node is not None) and state.recording and (self.differentiable or state.whole):
                        node = Node(self, inputs, params, data)
                        if SHARED:
                            watch(node)
                        return Tensor(data, node)
                    return Tensor(data)
        return self._call(inputs, params)

    def _call(self, inputs: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Do a call in general."""
        if not inputs:
            raise InputError(f"{self.name}{self.__signature__}: got no input; give at least one")
        arrays: list[Any] = []
        dtype = None
        tracked = mixed = foreign = brief = noted = False
        for x in inputs:
            if type(x) is not Tensor:
                tensors = as_tensors(self, inputs)
                return call_batched(self, tensors, params) if Batched in map(type, tensors) else self(*tensors, **params)
            array = x.data
            arrays.append(array)
            if x.node is not None:
                tracked = True
            if type(array) is not ndarray:
                foreign = True
                noted = noted or issubclass(type(array), device.Standin)
            if array.dtype is not dtype:
                mixed = dtype is not None
                dtype = array.dtype
                brief = brief or dtype is BFLOAT16
        if self.promotes and (mixed or (self.floating and not is_inexact(dtype))):       # pyright: ignore[reportArgumentType]
            inputs = _promote(self, inputs)
            arrays = [x.data for x in inputs]
        if noted:
            return _noted(self, inputs, params)
        try:
            if foreign:
                xp = _common_namespace(self, inputs)
                with device.beside(inputs[0].data):
                    data = mapped(self.forward, arrays, params) if self.form == "elementwise" else None
                    if data is None:
                        data = self.forward(xp, *arrays, **params)
            else:
                data = self.forward(np, *arrays, **params)
        except (ValueError, TypeError, IndexError, MemoryError) as error:
            raise explained(self, inputs, error) from error
        if self.outputs != 1:
            data = tuple([np.asarray(value) if issubclass(type(value), np.generic) else value for value in data])
            node = _record(self, inputs, params, data) if tracked and state.recording and (self.differentiable or state.whole) else None
            return tuple(Tensor(value, node, i) for i, value in enumerate(data))
        if type(data) is not ndarray and issubclass(type(data), np.generic):
            data = np.asarray(data)         # NumPy returns scalars for arrays of shape ()
        # Arithmetic of bfloat16 with numbers, its matrix products and where come out as float32 or float64.
        if brief and data.dtype.kind == "f" and self.keeps and not any(x.data.dtype.kind in "fc" for x in inputs):
            data = data.astype(BFLOAT16)
        if tracked and state.recording and (self.differentiable or state.whole):
            return Tensor(data, _record(self, inputs, params, data))
        return Tensor(data)

    def need(self, rule: str) -> Callable[..., Any]:
        """Return the rule "vjp" or "jvp".

        Raises: GraphError if the operation has none.
        """
        found = self.vjp if rule == "vjp" else self.jvp
        if found is None:
            sweep = "backward" if rule == "vjp" else "forward"
            place = f"in its stanza ({self.forward.__module__})" if self.name in PRIMITIVES else "to custom(...)"
            raise GraphError(
                f"operation {self.name!r} has no {rule} rule, so it cannot be differentiated {sweep}; give {rule}= {place}, or keep "
                "its inputs out of the derivative with stop_gradient"
            )
        return found


def _signature(forward: Callable[..., Any]) -> inspect.Signature:
    """Return how an operation is called: its forward's arrays by position, and its parameters by keyword."""
    code = getattr(inspect.unwrap(forward), "__code__", None)
    if code is None:
        return inspect.Signature([inspect.Parameter("inputs", inspect.Parameter.VAR_POSITIONAL)])
    names, count = code.co_varnames, code.co_argcount
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names[1:count]]
    end = count + code.co_kwonlyargcount
    if code.co_flags & inspect.CO_VARARGS:
        parameters.append(inspect.Parameter(names[end], inspect.Parameter.VAR_POSITIONAL))
    return inspect.Signature([*parameters, *(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names[count:end])])


def _noted(op: Primitive, inputs: Any, params: dict[str, Any]) -> Any:
    """Do a call while a function is recorded for the compiler: the graph is as ever, its arrays are stand-ins."""
    if state.recorder is None:
        raise GraphError(
            f"{op.name}: an input of shape {inputs[0].shape} belongs to a recording of hp.jit that has ended: it was kept in a list, a "
            "global or an attribute; return it from the function instead"
        )
    data = state.recorder.call(op, inputs, params)
    tracked = state.recording and (op.differentiable or state.whole) and any(x.node is not None for x in inputs)
    node = Node(op, inputs, params, data) if tracked else None
    return Tensor(data, node) if op.outputs == 1 else tuple(Tensor(value, node, i) for i, value in enumerate(data))


def _record(op: Primitive, inputs: Any, params: dict[str, Any], data: Any) -> Node:
    node = Node(op, inputs, params, data)
    if SHARED:
        watch(node)
    return node


def _beside(value: Any, other: Any) -> Any:
    """Return a Python number or NumPy array as the Tensor it becomes beside another; as it is if that takes more care."""
    if type(other) is not Tensor:
        return value
    array: Any = other.data
    if type(array) is ndarray:
        dtype = array.dtype
        if type(value) in REALS and (dtype is FLOAT or dtype is DOUBLE):
            return number_like(value, dtype)
        if type(value) is ndarray and value.dtype is dtype:
            return as_tensor(value)
    elif type(value) in REALS and device.is_cupy(array.__class__) and array.dtype.char in "fd":
        return _far_number(value, array.dtype, device.device_of(array))
    return value


def _far_number(value: Any, dtype: np.dtype[Any], place: str) -> Tensor:
    """Return a number as a constant on a GPU; those that were met lately are kept: a copy there takes longer than most operations."""
    key = (value if value and value == value else repr(value), dtype.char, place)        # 0.0 and -0.0 are equal keys, NaN is none
    found = FAR_NUMBERS.get(key)
    if found is None:
        if len(FAR_NUMBERS) > 1000:
            FAR_NUMBERS.clear()
        found = FAR_NUMBERS[key] = Tensor(device.to_device(np.asarray(value, dtype=dtype), place))
    return found


def number_like(value: float, dtype: np.dtype[Any]) -> Tensor:
    """Return a Python number as a constant of dtype float32 or float64; those that were met lately are kept."""
    known = NUMBERS[dtype is DOUBLE]
    found = known.get(value)
    if found is None or not value:          # 0.0 and -0.0 are equal keys
        try:
            array = np.array(value, dtype)
        except OverflowError as error:
            raise InputError(f"a number of {len(str(value))} digits does not fit {dtype}, the dtype beside it") from error
        array.flags.writeable = False
        found = Tensor(array)
        if len(known) > 1000:
            known.clear()
        known[value] = found
    return found


def _place(function: Callable[..., Any]) -> tuple[Any, ...]:
    """Return where a function was written: a module that is imported a second time makes the same entries again."""
    code = getattr(function, "__code__", None)
    return (function,) if code is None else (code.co_filename, code.co_firstlineno, code.co_qualname)


def as_tensors(op: Primitive, inputs: tuple[Any, ...]) -> list[Tensor]:
    """Make every input a Tensor; Python numbers take the dtype and device of the arrays beside them."""
    tensors = [None if type(x) in SCALARS else _input(op, i, x) for i, x in enumerate(inputs)]
    strong = [x for x in tensors if x is not None]
    dtypes = [x.dtype for x in strong if x.dtype.kind != "b"] or [x.dtype for x in strong]
    beside = result_dtype(dtypes) if dtypes else None
    if op.floating and beside is not None and not is_inexact(beside):
        beside = FLOAT
    if strong:
        _common_namespace(op, strong)           # refuses several devices
    place = strong[0].device if strong else "cpu"
    return [_number(op, place, x, weak_dtype(x, beside)) if t is None else t for x, t in zip(inputs, tensors, strict=True)]


def _input(op: Primitive, i: int, value: Any) -> Tensor:
    try:
        return as_tensor(value)
    except (DtypeError, InputError) as error:
        raise type(error)(f"{op.name}: input {i + 1}: {error}") from error


def _number(op: Primitive, place: str, value: Any, dtype: np.dtype[Any]) -> Tensor:
    try:
        return Tensor(np.asarray(value, dtype=dtype)) if place == "cpu" else _far_number(value, dtype, place)
    except OverflowError as error:
        raise InputError(f"{op.name}: the number {value} does not fit {dtype}, the dtype beside it; use .astype(...) there") from error


def _promote(op: Primitive, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Convert inputs to the dtype in which they combine, by recorded operations: derivatives come back in each input's own dtype."""
    dtype = result_dtype(x.dtype for x in inputs)
    if op.floating and not is_inexact(dtype):
        dtype = FLOAT
    convert = PRIMITIVES["astype"]
    return tuple(x if x.dtype == dtype or (x.dtype.kind == "b" and not op.floating) else convert(x, dtype=dtype) for x in inputs)


def _common_namespace(op: Primitive, inputs: "tuple[Tensor, ...] | list[Tensor]") -> Any:
    first = inputs[0].data
    if device.is_cupy(first.__class__) and (len(inputs) == 1 or all(
            type(x.data) is type(first) and x.data.device == first.device for x in inputs)):
        return device.namespace(first)      # they are there: no need to look for a GPU
    places = [x.device for x in inputs]
    if len(set(places)) > 1:
        raise DeviceError(f"{op.name}: inputs are on {', '.join(places)}; all must be on one device: use x.to({places[0]!r})")
    return device.namespace_of(places[0])


def explained(op: Primitive, inputs: tuple[Tensor, ...], error: Exception) -> Exception:
    """Return an error of a forward in Hyperion's terms."""
    if isinstance(error, HyperionError):
        return error
    if isinstance(error, MemoryError):
        return out_of_memory(op.name, inputs, error)
    if isinstance(error, TypeError) and "argument" in str(error):
        return InputError(f"{op.name}{op.__signature__}: got {len(inputs)} input(s): {error}")
    if isinstance(error, IndexError):
        return IndexingError(f"{op.name}: {error}; inputs have shapes {', '.join(str(x.shape) for x in inputs)}")
    if op.form != "elementwise":
        places = ", ".join(f"{x.shape} {x.dtype}" for x in inputs)
        return (ShapeError if isinstance(error, ValueError) else DtypeError)(f"{op.name}: {error}; inputs are {places}")
    shapes = ", ".join(str(x.shape) for x in inputs)
    try:
        np.broadcast_shapes(*(x.shape for x in inputs))
    except ValueError:
        return ShapeError(f"{op.name}: shapes {shapes} do not combine; axes are matched from the last and must be equal, or 1: use reshape")
    if isinstance(error, TypeError):
        dtypes = ", ".join(str(x.dtype) for x in inputs)
        return DtypeError(f"{op.name}: does not take dtype {dtypes} (shapes {shapes}): {error}; convert with .astype(...)")
    return error


def _real_like(x: Tensor, like: Tensor) -> Tensor:
    """Return the real part where a complex derivative belongs to a real value."""
    return PRIMITIVES["real"](x) if x.data.dtype.kind == "c" and like.data.dtype.kind != "c" else x


def elementwise(
    name: str, forward: Rule, *partials: Rule | float | None, floating: bool = False, degree: int | None = None,
    pull: Callable[..., Any] | None = None, doc: str = "",
) -> Primitive:
    """Add an elementwise operation to the table, given its partial derivatives.

    forward(xp, *arrays, **params): uses only functions of xp and operators.
    partials: one per input: a function (out, *inputs, **params) -> Tensor; a number if it is constant; None if there is no derivative.
        A partial of dtype bool selects instead of multiplying, so an infinite cotangent does not turn into NaN where it is False.
        With complex inputs and a real result it is conj(dout/dz) * 2 (for abs: conj(z)/|z|), of which the form takes the real part.
    degree: as in Primitive; known by itself if all partials are numbers.
    floating: integer inputs are computed in float32 (sin, divide); otherwise they stay integers (add, negative).
    pull(g, out, inputs, params): a quicker way on NumPy arrays than the partials, as in Primitive; None from it: the partials serve.

    >>> from hyperion.autograd import cos, grad, sin
    >>> versine = elementwise("versine", lambda xp, x: 1.0 - xp.cos(x), lambda out, x: sin(x), floating=True)
    >>> grad(versine)(np.pi / 2)
    Tensor () float32, cpu: 1.
    >>> del PRIMITIVES["versine"]
    """

    def weigh(g: Tensor, partial: Any, out: Tensor, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Any:
        factor = partial if type(partial) in REALS else partial(out, *inputs, **params)
        if not isinstance(factor, Tensor):
            return g if factor == 1 else -g if factor == -1 else g * factor
        return PRIMITIVES["where"](factor, g, 0.0) if factor.data.dtype.kind == "b" else g * factor

    def vjp(g: Tensor, out: Tensor, *inputs: Tensor, **params: Any) -> list[Tensor | None]:
        cotangents: list[Tensor | None] = []
        for x, partial in zip(inputs, rules, strict=True):
            if x.node is None or partial is None:
                cotangents.append(None)
                continue
            cotangent = _real_like(weigh(g, partial, out, inputs, params), x)
            if cotangent.data.shape != x.data.shape:
                cotangent = PRIMITIVES["sum_to"](cotangent, shape=x.data.shape)
            cotangents.append(cotangent)
        return cotangents

    def jvp(tangents: list[Tensor | None], out: Tensor, *inputs: Tensor, **params: Any) -> Tensor | None:
        total = None
        for tangent, partial in zip(tangents, rules, strict=True):
            if tangent is None or partial is None:
                continue
            term = _real_like(weigh(tangent, partial, out, inputs, params), out)
            total = term if total is None else total + term
        if total is not None and total.shape != out.shape:
            total = PRIMITIVES["broadcast_to"](total, shape=out.shape)
        return total

    def pull_arrays(g: ndarray, out: ndarray, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> list[Any] | None:
        if pull is not None and (found := pull(g, out, inputs, params)) is not None:
            return found
        if type(g) is not ndarray:
            return None
        cotangents: list[Any] = []
        raw = [x.data for x in inputs]
        for i, x in enumerate(inputs):
            partial: Any = rules[i]
            if partial is None or x.node is None:
                cotangents.append(None)
                continue
            if constant[i]:
                c: Any = g if partial == 1 else -g if partial == -1 else g * partial
            else:
                factor: Any = partial(out, *raw, **params) if plain[i] else partial(Tensor(out), *inputs, **params)
                if type(factor) is Tensor:
                    plain[i] = False        # it calls operations of the table: those want Tensors
                    factor = factor.data
                selects = type(factor) is np.bool_ or (type(factor) is ndarray and factor.dtype.kind == "b")
                c = np.where(factor, g, 0) if selects else g * factor
            data = raw[i]
            if type(c) is not ndarray:
                c = np.asarray(c)
            if c.dtype is not data.dtype:
                c = np.real(c).astype(data.dtype) if data.dtype.kind != "c" else c.astype(data.dtype)
            if c.shape != data.shape:
                c = PRIMITIVES["sum_to"].forward(np, c, data.shape)
            cotangents.append(c)
        return cotangents

    rules = [None if partial == 0 else partial for partial in partials]
    plain = [True] * len(rules)
    constant = [type(rule) in REALS for rule in rules]
    if all(constant):
        degree = 1
    op = Primitive(
        name, "elementwise", forward, vjp, jvp, promotes=True, floating=floating, differentiable=any(rule is not None for rule in rules),
        partials=partials, degree=degree, pull=pull_arrays, doc=doc,
    )
    op.everywhere = pull is not None
    return op


def _zeros_like(x: Tensor) -> Tensor:
    return Tensor(device.namespace_of(x.device).zeros(x.shape, dtype=x.dtype))


def linear(
    name: str, forward: Rule, transpose: Rule, *, promotes: bool = False, batch: BatchRule | None = None, doc: str = ""
) -> Primitive:
    """Add a linear operation to the table, given its transpose.

    forward(xp, *arrays, **params): linear in all floating arrays together.
    transpose(g, *inputs, **params) -> Tensor, or a tuple of one Tensor or None per input. Only shapes and dtypes of the inputs may be used.
    promotes: inputs of several dtypes are converted to a common one first.

    >>> from hyperion.autograd import grad
    >>> double = linear("double", lambda xp, x: 2 * x, lambda g, x: double(g))
    >>> grad(double)(3.0)
    Tensor () float32, cpu: 2.
    >>> del PRIMITIVES["double"]
    """

    def vjp(g: Tensor, out: Tensor, *inputs: Tensor, **params: Any) -> Any:
        result = transpose(g, *inputs, **params)
        return (result,) if isinstance(result, Tensor) else result

    def jvp(tangents: list[Tensor | None], out: Tensor, *inputs: Tensor, **params: Any) -> Tensor:
        present = [
            t if t is not None else _zeros_like(x) if is_inexact(x.data.dtype) else x for t, x in zip(tangents, inputs, strict=True)
        ]
        return op(*present, **params)

    op = Primitive(name, "linear", forward, vjp, jvp, promotes=promotes, transpose=transpose, degree=1, batch=batch, doc=doc)
    return op


def bilinear(
    name: str, forward: Rule, left: Rule, right: Rule, *, promotes: bool = True, batch: BatchRule | None = None, doc: str = ""
) -> Primitive:
    """Add an operation to the table that is linear in each of its two inputs: a product of some kind.

    forward(xp, x, y, **params) -> array.
    left(g, x, y, **params), right(g, x, y, **params): the cotangent of x (of y), linear in g and in y (in x).
    promotes: inputs of several dtypes are converted to a common one first.

    >>> from hyperion.autograd import asarray, grad
    >>> pair = bilinear("pair", lambda xp, x, y: xp.outer(x, y), lambda g, x, y: g @ y, lambda g, x, y: x @ g)
    >>> grad(lambda x: pair(x, [1.0, 2.0]).sum())(asarray([0.5, 1.0]))
    Tensor (2,) float32, cpu: [3. 3.]
    >>> del PRIMITIVES["pair"]
    """

    def vjp(g: Tensor, out: Tensor, x: Tensor, y: Tensor, **params: Any) -> tuple[Tensor | None, Tensor | None]:
        return (
            None if x.node is None else _real_like(to_left(g, x, y, **params), x),
            None if y.node is None else _real_like(to_right(g, x, y, **params), y),
        )

    def jvp(tangents: list[Tensor | None], out: Tensor, x: Tensor, y: Tensor, **params: Any) -> Tensor:
        before, after = tangents
        if before is None:
            return op(x, after, **params)
        first = op(before, y, **params)
        return first if after is None else first + op(x, after, **params)

    to_left: Callable[..., Any] = left
    to_right: Callable[..., Any] = right
    op = Primitive(name, "bilinear", forward, vjp, jvp, promotes=promotes, degree=2, batch=batch, doc=doc)
    return op


def general(
    name: str, forward: Rule, vjp: Rule | None = None, jvp: Rule | None = None, *,
    outputs: int | None = 1, promotes: bool = False, floating: bool = False, differentiable: bool = True,
    batch: BatchRule | None = None, pull: Callable[..., Any] | None = None, doc: str = "",
) -> Primitive:
    """Add an operation to the table, given both of its rules.

    forward(xp, *arrays, **params) -> array, or a tuple of arrays.
    vjp(g, out, *inputs, **params) -> one Tensor or None per input. It may look at input.tracked to skip work nobody needs.
    jvp(tangents, out, *inputs, **params) -> Tensor; tangents are None where there is none.
    outputs: their number; None: known at the call. Unless it is 1, forward returns a tuple, the call returns a tuple of Tensors,
        `out` and `g` are sequences (None in g where nothing came in), and jvp returns a tuple.
    differentiable: False for an operation whose result does not change with its inputs (argmax); it is never recorded.
    pull: a vjp on NumPy arrays beside the rule, as in Primitive.

    >>> from hyperion.autograd import grad
    >>> product = general("product", lambda xp, x, y: x * y, lambda g, out, x, y: (g * y, g * x),
    ...                   lambda t, out, x, y: (0 if t[0] is None else t[0] * y) + (0 if t[1] is None else x * t[1]))
    >>> grad(product, argnums=1)(3.0, 4.0)
    Tensor () float32, cpu: 3.
    >>> del PRIMITIVES["product"]
    """
    return Primitive(
        name, "general", forward, vjp, jvp, outputs=outputs, promotes=promotes, floating=floating, differentiable=differentiable,
        batch=batch, pull=pull, doc=doc,
    )
