"""Steps of optimisers in a program: the formula of a rule as one loop for each parameter, after a look at all gradients.

An optimiser hands the recorder a `Recipe`: formulas, and what is done by Python before and after the loops. Loops read and write the
arrays of the optimiser's state where they lie; the numbers of a rule (learning rate, corrections for the start at zero) lie in a row of
floats that the recipe fills before every run, so a schedule compiles nothing.
"""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperion.autograd.jit.groups import Reading
from hyperion.autograd.jit.ir import Step, Value
from hyperion.autograd.jit.views import View
from hyperion.codegen.elementwise import Symbol, value_text
from hyperion.codegen.loops import Loop, LoopWriter, Operand

__all__ = ["Finish", "Finite", "Formula", "Outdated", "Recipe", "updating"]


class Outdated(Exception):
    """Raised by a recipe that another rule has come to belong to since it was recorded: the function is to be recorded again."""


@dataclass(frozen=True)
class Formula:
    """How one parameter moves. function(xp, parameter, gradient, states, numbers) -> (new parameter, *new states): pure and elementwise.
    states, numbers: how many there are.  at: of its first number among those of the recipe."""

    function: Callable[..., Any]
    states: int
    numbers: int
    at: int


class Recipe(ABC):
    """What a program needs to know of a step of an optimiser.

    name: in the text.  formulas: of each parameter that moves.  numbers: those of the run.  checked: whether gradients that are not finite
    are refused.  own: of each parameter whether the function gave it no other value before; set by the recorder.
    """

    name: str
    formulas: Sequence[Formula]
    numbers: "array[float]"
    checked: bool
    own: Sequence[bool] = ()

    @abstractmethod
    def begin(self) -> Sequence[Any]:
        """Fill in the numbers and return the state arrays of all parameters; the same sequence if they are the same arrays.

        Raises: Outdated if the formulas are other ones now.
        """

    @abstractmethod
    def writable(self) -> Sequence[bool]:
        """Tell of each parameter whether nobody else holds its array, so that the new values may be written over the old ones."""

    @abstractmethod
    def refuse(self, gradients: Sequence[Any]) -> None:
        """Raise the error for gradients that are not finite."""

    @abstractmethod
    def finish(self, arrays: Sequence[Any]) -> None:
        """Give the parameters their new arrays, and count the step."""


class Finite:
    """The look at the gradients of a step of one dtype: the program stops here if one is not finite.

    gradients: where those of all dtypes lie.  flag: what says so, in a run.
    """

    def __init__(self, recipe: Recipe, gradients: Sequence[View], dtype: Any) -> None:
        self.recipe = recipe
        self.gradients = list(gradients)
        self.inputs = [view for view in gradients if view.root.dtype == dtype]
        self.outputs: list[Value] = []
        self.dtype: str = dtype.name
        self.flag = array("q", [0])

    def __repr__(self) -> str:
        return f"stop unless {', '.join(repr(view.root) for view in self.inputs)} are finite"


class Finish:
    """The end of a step: parameters get their new arrays.

    olds: where the parameters lay, if that is memory of their own which nobody reads any more; None: new memory is needed.
    outputs: their new values.  states: those of all parameters, in order.  number: the value that stands for the numbers.
    """

    def __init__(
        self, recipe: Recipe, olds: Sequence[Value | None], outputs: Sequence[Value], states: Sequence[Value], number: Value,
    ) -> None:
        self.recipe = recipe
        self.inputs: list[View] = []
        self.olds = list(olds)
        self.outputs = list(outputs)
        self.states = list(states)
        self.number = number

    def __repr__(self) -> str:
        return f"{', '.join(map(repr, self.outputs))}: parameters from now on, by {self.recipe.name}"


def updating(step: Step, recipe: Recipe, views: Sequence[View], fresh: Callable[[tuple[int, ...], Any], Value]) -> tuple[list[Any], Finish]:
    """Return the loops of a step of an optimiser, and its end.

    views: where gradients and then parameters lie, each in one piece.  fresh(shape, dtype): a new value, with memory that comes with each
    run.
    """
    count = len(recipe.formulas)
    number = fresh((max(len(recipe.numbers), 1),), np.dtype(np.float64))
    items: list[Any] = []
    states: list[Value] = []
    for formula, g, p, out in zip(recipe.formulas, views[:count], views[count:], step.outputs, strict=True):
        size = out.size
        own = [fresh((size,), out.dtype) for _ in range(formula.states)]
        states += own
        flat = [View(view.root, (size,), (1,), view.offset) for view in (p, g)] + [View(x, (size,), (1,)) for x in own]
        single = [View(number, (size,), (0,), formula.at + k) for k in range(formula.numbers)]
        loop = _loop(formula, out.dtype.name)
        strides = [*([1] for _ in flat), *([0] for _ in single), *([1] for _ in range(1 + formula.states))]
        items.append(Reading(loop, out.dtype.name, [*flat, *single], [out, *own], (), [size], strides, (), [recipe.name]))
    olds = [view.root if own else None for own, view in zip(recipe.own, views[count:], strict=True)]
    return items, Finish(recipe, olds, step.outputs, states, number)


def _loop(formula: Formula, dtype: str) -> Loop:
    writer = LoopWriter()
    read = 2 + formula.states
    symbols = [Symbol(writer, f"p{k}") for k in range(read + formula.numbers)]
    results = formula.function(writer, symbols[0], symbols[1], tuple(symbols[2:read]), tuple(symbols[read:]))
    given = [*(Operand(dtype, 1) for _ in range(read)), *(Operand("float64", 0) for _ in range(formula.numbers))]
    return Loop("map", 1, 1, tuple(writer.lines), (*given, *(Operand(dtype, 1, value_text(x)) for x in results)))
