"""Whether an array may be written over: by counting who refers to it."""

import sys
from typing import Any

import numpy as np

__all__ = ["ALONE", "references"]


def references(arrays: list[Any], i: int) -> int:
    """Return how many references there are to an array of a list; views of it count."""
    return sys.getrefcount(arrays[i])


def _references_to_one_held_twice() -> int:
    made = [np.empty(1)]
    holder = [made[0]]
    return references(made, 0) if holder else -1


# What is counted when only the optimiser and the Tensor hold an array. Without the interpreter's lock counts may be behind: never equal.
ALONE = _references_to_one_held_twice() if getattr(sys, "_is_gil_enabled", lambda: True)() else -1
