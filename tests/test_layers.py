"""Imports go down a floor or stay inside one folder; imports inside functions count too."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {
    "cli": 6, "__main__": 6, "__init__": 6,
    "operators": 5, "inversion": 5,
    "nn": 4, "pde": 4, "optim": 4, "probability": 4, "testing": 4, "interop": 4, "linalg": 4, "fft": 4, "random": 4,
    "autograd": 3,
    "codegen": 2, "cpu": 2, "gpu": 2, "io": 2, "plot": 2, "parallel": 2,
    "config": 1, "errors": 1,
}
MAY_MEET = {("__main__", "cli")}        # on the top floor: `python -m hyperion` is the command line
MAY_NEED = {("interop", "torch")}       # on first use, never when the package is imported
PEERS = {"torch", "jax", "deepwave", "devito", "neuraloperator", "transformers", "autograd", "tinygrad"}


def imported(text: str, package: str) -> set[str]:
    """Return the full names of all modules that a source text imports, wherever in it; package: the package the file belongs to."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[:len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            function = ast.unparse(node.func)
            if function in ("importlib.import_module", "import_module", "__import__"):
                names.add(node.args[0].value)
    return names


def room_of(name: str) -> str:
    """Return the folder or top-level module of a dotted name within hyperion; `hyperion.Tensor` belongs to __init__."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else "__init__"


def violations(path: str, text: str) -> list[str]:
    """Return what a file of the package imports against the rule; path: relative to the folder that holds the package."""
    parts = list(Path(path).with_suffix("").parts)
    if len(parts) > 2 and parts[1] not in FLOORS:
        return [f"{path}: the folder {parts[1]} has no floor; a helper lives with its one user, or where it has a meaning of its own"]
    package = ".".join(parts[:-1])
    here = parts[1] if len(parts) > 1 else "__init__"
    found = []
    for name in sorted(imported(text, package)):
        if name.split(".")[0] in PEERS and (here, name) not in MAY_NEED:
            found.append(f"{path} imports {name}: the package imports no peer; tests and benchmarks may")
        if name.split(".")[0] != "hyperion":
            continue
        there = room_of(name)
        if there != here and FLOORS[there] >= FLOORS.get(here, 0) and (here, there) not in MAY_MEET:
            found.append(f"{path} (floor {FLOORS.get(here)}) imports {name} (floor {FLOORS[there]})")
    return found


def package_files() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "hyperion").rglob("*.py"))


@pytest.mark.parametrize("path", package_files())
def test_imports_go_down(path):
    assert violations(path, (ROOT / path).read_text(encoding="utf-8")) == []


def test_every_folder_has_a_floor():
    rooms = {path.stem for path in (ROOT / "hyperion").iterdir() if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))}
    assert rooms <= set(FLOORS)


@pytest.mark.parametrize("path, text, broken", [
    ("hyperion/pde/solver.py", "from hyperion.autograd import Tensor", False),
    ("hyperion/pde/solver.py", "from hyperion.pde.grid import Grid", False),
    ("hyperion/pde/equations/acoustic.py", "from ..grid import Grid", False),
    ("hyperion/pde/solver.py", "import numpy", False),
    ("hyperion/pde/solver.py", "from hyperion.optim import Adam", True),              # a neighbour
    ("hyperion/io/models.py", "def f():\n    from hyperion.autograd import Tensor", True),   # up, hidden in a function
    ("hyperion/io/models.py", "def f():\n    import importlib\n    importlib.import_module('hyperion.pde')", True),
    ("hyperion/io/models.py", "from hyperion import plot", True),
    ("hyperion/io/models.py", "from .. import plot", True),
    ("hyperion/io/models.py", "import hyperion", True),
    ("hyperion/pde/equations/acoustic.py", "from ...optim import Adam", True),
    ("hyperion/errors.py", "from hyperion.config import threads", True),
    ("hyperion/utils/things.py", "", True),
    ("hyperion/nn/linear.py", "import torch", True),
    ("hyperion/interop/exchange.py", "import torch", False),
    ("hyperion/interop/exchange.py", "import jax", True),
    ("hyperion/interop/exchange.py", "from hyperion.pde import Grid", True),
])
def test_the_rule_itself(path, text, broken):
    assert bool(violations(path, text)) == broken


@pytest.mark.parametrize("path", ["hyperion/errors.py"])
def test_the_lowest_floor_uses_the_standard_library_only(path):
    import sys

    names = {name.split(".")[0] for name in imported((ROOT / path).read_text(encoding="utf-8"), "hyperion")}
    assert names <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", sorted(str(p.relative_to(ROOT)) for p in (ROOT / "scenarios").glob("*.py")))
def test_scenarios_use_the_public_api(path):
    """A scenario imports packages of Hyperion, not modules inside them, and no name that begins with an underscore."""
    for name in imported((ROOT / path).read_text(encoding="utf-8"), ""):
        parts = name.split(".")
        if parts[0] == "hyperion":
            assert not any(part.startswith("_") for part in parts), name
            # hyperion, hyperion.<package>, hyperion.<package>.<public name>
            public = len(parts) <= 2 or (len(parts) == 3 and not (ROOT / "hyperion" / parts[1] / f"{parts[2]}.py").exists())
            assert public or parts[1] == "errors", f"{path} imports {name}; take it from hyperion.{parts[1]}"
