"""Find scenarios, read their options, merge what the user gave.

A scenario is two files: `scenarios/<name>.py` with a docstring and `main(run, config)`, and `scenarios/<name>.toml` with every option and
its default. The type of an option is that of its default. A table `[smoke]` holds the overrides of `--smoke`.
"""

import ast
import importlib.util
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperion.errors import FileError, InputError, nearest
from hyperion.io.toml import flatten_table, nest_table, read_toml

__all__ = ["Config", "Scenario", "find_scenario", "merge", "parse", "scenario_folder", "scenario_names"]


class Config(Mapping[str, Any]):
    """The options of a run, read as `config.shots` or `config["shots"]`; a table of the TOML file is a Config again.

    >>> config = Config({"shots": 16, "geometry": {"depth": 40.0}})
    >>> config.shots, config.geometry.depth
    (16, 40.0)
    """

    def __init__(self, table: Mapping[str, Any], prefix: str = ""):
        self._prefix = prefix
        self._table = {key: Config(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value for key, value in table.items()}

    def __getitem__(self, key: str) -> Any:
        return self._table[key]

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        try:
            return self._table[key]
        except KeyError:
            raise AttributeError(f"the scenario has no option {key!r}; {nearest(key, self._table)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def at_least(self, least: float, *names: str) -> None:
        """Refuse the run unless each of these options, of a list each number, is at least a number.

        >>> Config({"shots": 0}).at_least(1, "shots")
        Traceback (most recent call last):
        hyperion.errors.InputError: --shots 0: must be at least 1
        """
        self._refuse(names, lambda value: value >= least, f"must be at least {least:g}")

    def multiples(self, of: int, *names: str) -> None:
        """Refuse the run unless each of these options, of a list each number, is a multiple of a number: 2, 4, 6, ... of 2."""
        self._refuse(names, lambda value: value >= of and value % of == 0, f"must be a multiple of {of}")

    def in_rows(self, *names: str) -> list[tuple[Any, ...]]:
        """Return lists side by side, as rows; a list of one value holds for all. The first says how many.

        >>> Config({"frequency": [3.0, 5.0], "steps": [10]}).in_rows("frequency", "steps")
        [(3.0, 10), (5.0, 10)]
        """
        count = len(self[names[0]])
        if not count:
            raise InputError(f"--{self._prefix}{names[0]} []: give at least one")
        for name in names:
            if len(self[name]) not in (1, count):
                raise InputError(f"--{self._prefix}{name} {self[name]}: has {len(self[name])} values for {count} of "
                                 f"--{self._prefix}{names[0]}; give one for each, or one for all")
        return list(zip(*(self[name] * (count if len(self[name]) == 1 else 1) for name in names), strict=True))

    def above(self, limit: float, *names: str) -> None:
        """Refuse the run unless each of these options, of a list each number, is above a number."""
        self._refuse(names, lambda value: value > limit, f"must be above {limit:g}")

    def among(self, choices: Iterable[Any], *names: str) -> None:
        """Refuse the run unless each of these options is one of the choices; a list must have at least one item, and no other ones."""
        choices = list(choices)
        listed = {name: self[name] if isinstance(self[name], list) else [self[name]] for name in names}
        wrong = [f"--{self._prefix}{name} {self[name]}" for name, values in listed.items() if not values or not set(values) <= set(choices)]
        if wrong:
            raise InputError(f"{', '.join(wrong)}: choose among {', '.join(map(str, choices))}")

    def _refuse(self, names: tuple[str, ...], fits: Callable[[Any], bool], rule: str) -> None:
        wrong = [f"--{self._prefix}{name} {self[name]}" for name in names
                 if not all(map(fits, self[name] if isinstance(self[name], list) else [self[name]]))]
        if wrong:
            raise InputError(f"{', '.join(wrong)}: {rule}")

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{key}={value!r}' for key, value in self._table.items())})"


@dataclass(frozen=True)
class Scenario:
    """One scenario: its name, its files, its default options and its smoke overrides (both with dotted names)."""

    name: str
    script: Path
    defaults: dict[str, Any]
    smoke: dict[str, Any]

    @property
    def summary(self) -> str:
        """The first line of the script's docstring; the script is not run for it."""
        return (ast.get_docstring(ast.parse(self.script.read_text(encoding="utf-8"))) or "no description").splitlines()[0]

    @property
    def options_text(self) -> str:
        """The TOML file as its author wrote it, comments and all."""
        return self.script.with_suffix(".toml").read_text(encoding="utf-8")

    def load(self) -> Callable[..., None]:
        """Return the scenario's function main(run, config). Raises: FileError if the script has none."""
        spec = importlib.util.spec_from_file_location(f"hyperion_scenarios.{self.name}", self.script)
        if spec is None or spec.loader is None:
            raise FileError(f"scenario {self.name!r}: {self.script} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if not callable(getattr(module, "main", None)):
            raise FileError(f"scenario {self.name!r}: {self.script} has no function main(run, config)")
        return module.main


def scenario_folder() -> Path:
    """Return the folder of the scenarios: that of the checkout Hyperion runs from, else the one installed with it."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file() and (checkout / "scenarios").is_dir():
        return checkout / "scenarios"
    spec = importlib.util.find_spec("hyperion_scenarios")
    if spec is None or not spec.submodule_search_locations:
        raise FileError("the scenarios were not installed with Hyperion; install it again, or run it from a checkout")
    return Path(next(iter(spec.submodule_search_locations)))


def scenario_names(folder: Path | None = None) -> list[str]:
    """Return the names of all scenarios: each script with a TOML file beside it."""
    return sorted(path.stem for path in (folder or scenario_folder()).glob("*.py") if path.with_suffix(".toml").is_file())


def find_scenario(name: str, folder: Path | None = None) -> Scenario:
    """Return a scenario by its name, or a user's own by the path of its script.

    Raises: InputError with the nearest name if there is none; FileError if a script has no TOML file beside it.
    """
    if name.endswith(".py"):
        folder, name = Path(name).parent, Path(name).stem
        for file in (folder / f"{name}.py", folder / f"{name}.toml"):
            if not file.is_file():
                raise FileError(f"scenario {str(folder / name)!r}: no file {file}; a scenario is a script and a TOML file of its "
                                "options, side by side")
    folder = folder or scenario_folder()
    names = scenario_names(folder)
    if name not in names:
        raise InputError(f"unknown scenario {name!r}; {nearest(name, names)}; or give the path of a script: my/{name}.py")
    script = folder / f"{name}.py"
    table = read_toml(script.with_suffix(".toml"), "scenario")
    smoke = table.pop("smoke", {})
    defaults = flatten_table(table)
    if not isinstance(smoke, Mapping):
        raise FileError(f"{script.with_suffix('.toml')}: smoke must be a table")
    return Scenario(name, script, defaults, checked(flatten_table(smoke), defaults, f"{script.with_suffix('.toml')} [smoke]"))


def merge(scenario: Scenario, *layers: Mapping[str, Any]) -> Config:
    """Return the defaults with each layer of checked overrides laid over them, the last one on top."""
    values = dict(scenario.defaults)
    for layer in layers:
        values.update(layer)
    return Config(nest_table(values))


def checked(values: Mapping[str, Any], defaults: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return values of a TOML file, each of its default's type. Raises: InputError for an unknown key or a wrong type."""
    return {key: typed(value, known(key, defaults, f"{place}: unknown key {key!r}"), f"{place}: {key}") for key, value in values.items()}


def known(key: str, defaults: Mapping[str, Any], message: str) -> Any:
    if key not in defaults:
        raise InputError(f"{message}; {nearest(key, defaults)}")
    return defaults[key]


def kind(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"list of {kind(value[0])}" if value else "list"
    return {bool: "true or false", int: "whole number", float: "number", str: "text"}.get(type(value), type(value).__name__)


def fits(value: float) -> bool:
    """Tell whether a number is finite, and if it is whole, has at most 63 bits."""
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)


def typed(value: Any, default: Any, name: str) -> Any:
    """Return a value as the type of a default: whole numbers pass as numbers, nothing else is converted."""
    if isinstance(default, list) and isinstance(value, list):
        return [typed(item, default[0], f"{name}[{i}]") for i, item in enumerate(value)] if default else value
    number = type(value) in (int, float)
    if number and not fits(value):
        what = "not a number (NaN)" if value != value else "infinite, or has more than 63 bits"
        raise InputError(f"{name}={value!r} is {what}; it must be a {kind(default)} and finite, as the default {default!r} is")
    if isinstance(default, float) and number:
        return float(value)
    if type(value) is not type(default):
        raise InputError(f"{name}={value!r} is a {kind(value)}; it must be a {kind(default)}, as the default {default!r} is")
    return value


def parse(text: str, default: Any, name: str) -> Any:
    """Return the value that a text of the command line means, as the type of the option's default.

    Lists are written with commas: 2.5,4,8.
    Raises: InputError if the text does not fit the type.

    >>> parse("2.5, 4", [1.0], "--frequencies"), parse("7", 1, "--shots"), parse("yes.npy", "", "--model")
    ([2.5, 4.0], 7, 'yes.npy')
    """
    if isinstance(default, str):
        return text
    if isinstance(default, list):
        items = [item.strip() for item in text.strip().removeprefix("[").removesuffix("]").split(",")]
        example = default[0] if default else ""
        return [parse(item, example, f"{name} item {i + 1}") for i, item in enumerate(items)] if items != [""] else []
    try:
        if isinstance(default, bool):
            value = {"true": True, "false": False}[text.strip().lower()]
        else:
            value = type(default)(text)
        if not fits(value):
            raise ValueError
    except (KeyError, ValueError):
        finite = " and finite" if isinstance(default, float) else ""
        raise InputError(f"{name}={text!r}: it must be a {kind(default)}{finite}, as the default {default!r} is") from None
    return value
