"""What a kind of data set is: its options, its arrays, and the function that makes some samples."""
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hyperion.autograd.random import Generator
from hyperion.errors import InputError, nearest
from hyperion.io import Axis

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Array:
    """One array of a data set: "inputs" or "outputs", its unit, and the axes of one sample."""

    role: str
    unit: str
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class Recipe:
    """A kind of data set.

    options: {name: (default, meaning)}; the type of an option is that of its default.
    arrays: options -> {name: Array}. make: (options, one generator per sample) -> {name: array with samples along axis 0}.
    """

    name: str
    summary: str
    options: Mapping[str, tuple[Any, str]]
    arrays: Callable[[Options], dict[str, Array]] = field(repr=False)
    make: Callable[[Options, Sequence[Generator]], dict[str, np.ndarray]] = field(repr=False)

    @property
    def defaults(self) -> dict[str, Any]:
        """The options' defaults."""
        return {name: default for name, (default, _) in COMMON.items()} | {name: default for name, (default, _) in self.options.items()}

    @property
    def help(self) -> str:
        """The options with their defaults and meanings, as the TOML text of a configuration."""
        rows = {**COMMON, **self.options}
        lines = [f"{name} = {_toml(default)}" for name, (default, _) in rows.items()]
        width = max(map(len, lines))
        return "\n".join(f"{line:<{width}}  # {meaning}" for line, (_, meaning) in zip(lines, rows.values(), strict=True)) + "\n"

    def settled(self, given: Options) -> dict[str, Any]:
        """Return all options, with those given laid over the defaults. Raises: InputError for an unknown one, or one that cannot be."""
        options = self.defaults
        for name, value in given.items():
            if name not in options:
                raise InputError(f"make_dataset({self.name!r}, {name}=...): unknown option; {nearest(name, options)}")
            kind = type(options[name])
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (type(value) is kind or (kind is float and number)):
                raise InputError(f"make_dataset({self.name!r}, {name}={value!r}): must be a {kind.__name__}, as the default "
                                 f"{options[name]!r} is")
            options[name] = kind(value)
        for name in ("batch", "resolution", "refine", "saves"):
            if name in options and options[name] < 1:
                raise InputError(f"make_dataset({self.name!r}, {name}={options[name]}): give at least 1")
        if options["dtype"] not in ("float32", "float64"):
            raise InputError(f'make_dataset({self.name!r}, dtype={options["dtype"]!r}): give "float32" or "float64"')
        return options


COMMON: dict[str, tuple[Any, str]] = {
    "batch": (16, "samples solved together"),
    "dtype": ("float32", "of the arrays in the file; computed in float64"),
}


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)


def noise(generators: Sequence[Generator], shape: tuple[int, ...]) -> np.ndarray:
    """Return the first normal numbers of each sample's generator, (samples, *shape), float64."""
    return np.stack([generator.normal(shape, dtype="float64").numpy() for generator in generators])
