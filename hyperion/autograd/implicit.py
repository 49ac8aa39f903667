"""Values defined by equations: solutions of linear systems, roots and fixed points, differentiated by the implicit function theorem.

The solver runs outside the graph; a derivative is another linear solve with the (transposed) Jacobian at the solution, whatever the solver
did. Matrices are functions that multiply: nothing is formed. Rules are written with the same operations, so derivatives nest to any order.
Source: Griewank and Walther, Evaluating Derivatives, 2nd ed. (2008), chapter 15; Blondel et al., Efficient and Modular Implicit
Differentiation (2022).
"""

from collections.abc import Callable
from typing import Any

from hyperion.autograd.closures import Closure
from hyperion.autograd.dtypes import is_inexact
from hyperion.autograd.graph import recording
from hyperion.autograd.methods import CG, GMRES, Newton, Picard
from hyperion.autograd.ops.shaping import concat, reshape
from hyperion.autograd.sweeps import zeros_like
from hyperion.autograd.table import Primitive
from hyperion.autograd.tensor import Tensor, as_tensor
from hyperion.autograd.trees import flatten, flatten_like, paths, unflatten
from hyperion.errors import DtypeError, InputError, ShapeError

__all__ = ["fixed_point", "linear_solve", "root_solve"]


def _method(given: Any, default: Any, name: str) -> Any:
    """Return a method, or refuse what is none."""
    if given is None:
        return default
    if not callable(getattr(given, "solve", None)):
        raise InputError(f"{name}={given!r} must be a method: CG(), GMRES(), Newton(), Picard()")
    return given


class _Vector:
    """A tree of Tensors as one vector."""

    def __init__(self, name: str, tree: Any) -> None:
        leaves, self.structure = flatten(tree)
        self.tensors = [as_tensor(leaf) for leaf in leaves]
        if not self.tensors:
            raise InputError(f"{name}: the tree has no Tensors")
        if not all(is_inexact(x.dtype) for x in self.tensors):
            dtypes = ", ".join(str(x.dtype) for x in self.tensors)
            raise DtypeError(f"{name}: the unknown has dtype {dtypes}; it must be floating or complex")
        self.name = name

    def ravel(self, tree: Any) -> Tensor:
        """Return a tree like this one as a vector."""
        parts: list[Tensor] = []
        for leaf, x, path in zip(flatten_like(self.structure, tree, self.name), self.tensors, paths(self.structure), strict=True):
            part = as_tensor(leaf)
            if part.shape != x.shape:
                place = path or "the result"
                raise ShapeError(f"{self.name}: got shape {part.shape} at {place}, where the unknown has {x.shape}; they must agree")
            parts.append(reshape(part, (part.size,)))
        return concat(parts)

    def unravel(self, vector: Tensor) -> Any:
        """Return a vector as a tree like this one."""
        start = 0
        leaves: list[Tensor] = []
        for x in self.tensors:
            leaves.append(reshape(vector[start:start + x.size], x.shape))
            start += x.size
        return unflatten(self.structure, leaves)


def linear_solve(multiply: Callable[[Any], Any], b: Any, method: CG | GMRES | None = None) -> Any:
    """Return x with multiply(x) = b, differentiable in b and in every Tensor that multiply uses.

    multiply: a linear function of a tree like b.  b: Tensor or tree of Tensors.  method: CG() or GMRES() (default).
    Derivatives solve with the same matrix (jvp) or its transpose (vjp), which is derived from multiply.
    Raises: ConvergenceError if the method does not reach its tolerance; ShapeError if multiply's result is not like b.

    >>> from hyperion.autograd import asarray, grad
    >>> grad(lambda a: linear_solve(lambda x: a * x, asarray([2.0, 4.0])).sum())(asarray([1.0, 2.0]))
    Tensor (2,) float32, cpu: [-2. -1.]
    """
    vector = _Vector("linear_solve(multiply, b): multiply", b)
    flat = vector.ravel(b)
    x = _solve_flat(lambda v: vector.ravel(multiply(vector.unravel(v))), flat, _method(method, GMRES(), "linear_solve: method"))
    return vector.unravel(x)


def _solve_flat(multiply: Callable[[Tensor], Tensor], b: Tensor, method: CG | GMRES) -> Tensor:
    body = Closure("linear_solve", multiply, (b,))
    return body.release([_call(_LINEAR, body, {"method": method})])


def _linear_forward(xp: Any, b: Any, *outside: Any, body: Closure, method: CG | GMRES) -> Any:
    """Solve body(x) = b; the batches of vmap are blocks of one large system."""

    def product(v: Any) -> Any:
        with recording(False):
            return body.run([Tensor(v.reshape(b.shape))])[0].data.reshape(-1)

    with body.lowered():
        return method.solve(product, b.reshape(-1)).reshape(b.shape)


def _call(op: Primitive, body: Closure, params: dict[str, Any]) -> Tensor:
    return op(*body.inputs, *body.outside, body=body, **params)


def _transposed(body: Closure, like: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the transpose of a linear body."""
    return lambda g: _one(body.pull([zeros_like(like)], [g])[0][0], like)


def _one(x: Tensor | None, like: Tensor) -> Tensor:
    return zeros_like(like) if x is None else x


def _linear_vjp(
    g: Tensor, out: Tensor, b: Tensor, *outside: Tensor, body: Closure, method: CG | GMRES
) -> list[Tensor | None]:
    body.check()
    adjoint = _lowered_solve(_transposed(body, b), g, method)
    _, through = body.pull([out], [-adjoint])
    return [adjoint, *through]


def _linear_jvp(
    tangents: list[Tensor | None], out: Tensor, b: Tensor, *outside: Tensor, body: Closure, method: CG | GMRES
) -> Tensor:
    body.check()
    first, *others = tangents
    (moved,) = body.push([out], [None], others)
    right = _one(first, b) if moved is None else _one(first, b) - moved
    return _lowered_solve(lambda v: body.run([v])[0], right, method)


def _lowered_solve(multiply: Callable[[Tensor], Tensor], b: Tensor, method: CG | GMRES) -> Tensor:
    """Solve a system for an array of any shape that is already lowered."""
    shape = b.shape
    flat = reshape(b, (b.size,))
    return reshape(_solve_flat(lambda v: reshape(multiply(reshape(v, shape)), (b.size,)), flat, method), shape)


_LINEAR = Primitive("linear_solve", "general", _linear_forward, _linear_vjp, _linear_jvp, register=False)


def root_solve(function: Callable[[Any], Any], start: Any, method: Any = None, linear: CG | GMRES | None = None) -> Any:
    """Return x near a start with function(x) = 0, differentiable in every Tensor that the function uses.

    function: of a tree like start; returns a tree of the same shapes.  start: no derivative flows through it.
    method: Newton() (default), or an object with solve(function of a vector, vector).  linear: the method for derivatives; GMRES().
    Raises: ConvergenceError if no root is found; ShapeError if the result is not like start.

    >>> from hyperion.autograd import asarray, grad
    >>> grad(lambda a: root_solve(lambda x: x * x - a, asarray(1.0)))(asarray(4.0))
    Tensor () float32, cpu: 0.25
    """
    vector = _Vector("root_solve(function, start): function", start)

    def flat(v: Tensor) -> Tensor:
        return vector.ravel(function(vector.unravel(v)))

    chosen = _method(method, Newton(), "root_solve: method")
    return vector.unravel(_root(flat, vector.ravel(start), chosen, _method(linear, GMRES(), "root_solve: linear")))


def _root(function: Callable[[Tensor], Tensor], start: Tensor, method: Any, linear: CG | GMRES) -> Tensor:
    body = Closure("root_solve", function, (start.detach(),))
    return body.release([_call(_ROOT, body, {"method": method, "linear": linear})])


def _root_forward(xp: Any, start: Any, *outside: Any, body: Closure, method: Any, linear: CG | GMRES) -> Any:
    def flat(v: Tensor) -> Tensor:
        return reshape(body.run([reshape(v, start.shape)])[0], (start.size,))

    with recording(False), body.lowered():
        return method.solve(flat, Tensor(start.reshape(-1))).data.reshape(start.shape)


def _root_vjp(g: Tensor, out: Tensor, x0: Tensor, *outside: Tensor, body: Closure, method: Any, linear: Any) -> list[Tensor | None]:
    body.check()
    adjoint = _lowered_solve(lambda v: _one(body.pull([out], [v])[0][0], out), g, linear)
    _, through = body.pull([out], [-adjoint])
    return [None, *through]


def _root_jvp(
    tangents: list[Tensor | None], out: Tensor, x0: Tensor, *outside: Tensor, body: Closure, method: Any, linear: Any
) -> Tensor | None:
    body.check()
    (moved,) = body.push([out], [None], tangents[1:])
    if moved is None:
        return None
    return _lowered_solve(lambda v: _one(body.push([out], [v], [None] * len(body.outside))[0], out), -moved, linear)


_ROOT = Primitive("root_solve", "general", _root_forward, _root_vjp, _root_jvp, register=False)


def fixed_point(function: Callable[[Any], Any], start: Any, method: Any = None, linear: CG | GMRES | None = None) -> Any:
    """Return x near a start with function(x) = x, differentiable in every Tensor that the function uses.

    function: of a tree like start.  method: Picard() (default) or Newton().  linear: the method for derivatives; GMRES().
    Raises: ConvergenceError if it is not found; ShapeError if the result is not like start.

    >>> from hyperion.autograd import asarray, cos, grad
    >>> fixed_point(cos, asarray(0.5, dtype="float64"))
    Tensor () float64, cpu: 0.739085
    """
    vector = _Vector("fixed_point(function, start): function", start)

    def change(v: Tensor) -> Tensor:
        return vector.ravel(function(vector.unravel(v))) - v

    chosen = _method(method, Picard(), "fixed_point: method")
    return vector.unravel(_root(change, vector.ravel(start), chosen, _method(linear, GMRES(), "fixed_point: linear")))
