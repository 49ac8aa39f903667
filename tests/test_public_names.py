"""Every package says what is public; every public name exists and is documented; the functions users call have an example that runs."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ["hyperion", *sorted(f"hyperion.{found.name}" for found in pkgutil.iter_modules([str(ROOT / "hyperion")])
                                if found.name not in ("__main__",))]
# Not the face: users reach these floors through others (hyperion.grad, pde.Solver), or as a process (the command line).
WORKSHOPS = {"hyperion.autograd", "hyperion.cli", "hyperion.codegen", "hyperion.cpu", "hyperion.gpu"}


def public_names() -> list[tuple[str, str]]:
    return [(package, name) for package in PACKAGES for name in getattr(importlib.import_module(package), "__all__", ())]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_lists_its_names(package):
    module = importlib.import_module(package)
    assert module.__doc__, f"{package} has no docstring"
    names = module.__all__
    assert len(set(names)) == len(names), f"{package}.__all__ lists a name twice"
    assert not [name for name in names if name.startswith("_") and not name.endswith("__")], f"{package}.__all__ lists a private name"


@pytest.mark.parametrize("package, name", public_names())
def test_a_public_name_exists_and_is_documented(package, name):
    module = importlib.import_module(package)
    assert hasattr(module, name), f"{package}.__all__ lists {name}, which does not exist"
    value = getattr(module, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert (value.__doc__ or "").strip(), f"{package}.{name} has no docstring"
        first = value.__doc__.strip().partition("\n\n")[0]
        assert "." in first or ":" in first, f"{package}.{name}: the docstring does not begin with a sentence"


@pytest.mark.parametrize("package, name", [(package, name) for package, name in public_names() if package not in WORKSHOPS])
def test_a_public_function_has_an_example(package, name):
    value = getattr(importlib.import_module(package), name)
    if inspect.isfunction(value):
        assert ">>>" in (value.__doc__ or ""), f"{package}.{name} has no example"


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "hyperion"])
def test_what_a_package_imports_into_its_face_is_listed(package):
    """A name that `__init__.py` takes from its own modules is public; a leak is either listed or not imported."""
    module = importlib.import_module(package)
    path = Path(module.__file__ or "")
    if path.name != "__init__.py":
        return
    own = {alias.asname or alias.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
           and (node.level or (node.module or "").startswith(package)) for alias in node.names if alias.name != "*"}
    assert own <= set(module.__all__), f"{package} imports {sorted(own - set(module.__all__))} without listing them"
