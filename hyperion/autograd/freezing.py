"""Functions as they are now: a copy whose variables keep their present values, for code that is run again later.

A function made in a loop (`lambda y: y * w`) looks its variables up when it runs; run again after the loop has gone on, it would compute
something else. Values that are changed in place (lists, arrays) are not copied: who runs a function again compares the results.
"""

import dis
import functools
import types
from collections.abc import Callable
from typing import Any

__all__ = ["frozen", "uses"]


def frozen(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with the present values of the variables of its surroundings and its module, and so with functions among them.

    Variables that the function itself rebinds (nonlocal, global) stay shared. What is no plain function or partial is returned as it is.

    >>> functions = [frozen(lambda: i) for i in range(3)]
    >>> [f() for f in functions]
    [0, 1, 2]
    """
    return _frozen(function, {})


def _frozen(value: Any, done: dict[int, Any]) -> Any:
    if isinstance(value, functools.partial):
        part: Any = value       # pyright: ignore[reportUnknownVariableType]
        return functools.partial(_frozen(part.func, done), *part.args, **part.keywords)
    if not isinstance(value, types.FunctionType):
        return value
    if id(value) in done:
        return done[id(value)]
    code = value.__code__
    written, names = uses(code)
    around = value.__closure__ or ()
    cells = tuple([cell if name in written else types.CellType() for name, cell in zip(code.co_freevars, around, strict=True)])
    outer: dict[str, Any] = value.__globals__
    library = str(outer.get("__name__", "")).partition(".")[0] == __name__.partition(".")[0]
    own = outer if library or written & names else {"__builtins__": outer.get("__builtins__"), "__name__": outer.get("__name__")}
    made = types.FunctionType(code, own, value.__name__, value.__defaults__, cells)
    made.__kwdefaults__ = value.__kwdefaults__
    made.__dict__.update(value.__dict__)
    made.__qualname__ = value.__qualname__
    done[id(value)] = made
    for cell, old in zip(cells, around, strict=True):
        if cell is not old:
            try:
                cell.cell_contents = _frozen(old.cell_contents, done)
            except ValueError:      # empty: the variable has no value yet
                pass
    if own is not outer:
        for name in names & outer.keys():
            found = outer[name]
            nested = isinstance(found, types.FunctionType) and found.__globals__ is outer
            own[name] = _frozen(found, done) if nested else found
    return made


@functools.lru_cache(maxsize=1000)
def uses(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """Return the outer variables that code rebinds, and the names it looks up in its module, with those of functions inside it."""
    written: set[str] = set()
    names: set[str] = set()
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_DEREF", "DELETE_DEREF") and step.argval in code.co_freevars:
            written.add(step.argval)
        elif step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            written.add(step.argval)
            names.add(step.argval)
        elif step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            names.add(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner_written, inner_names = uses(constant)
            written |= inner_written & ({*code.co_freevars} | inner_names)
            names |= inner_names
    return frozenset(written), frozenset(names)
