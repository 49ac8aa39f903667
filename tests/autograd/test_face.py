"""The public face: the core's names, lazy submodules, and an import that stays light."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hyperion as hp

ROOT = Path(__file__).resolve().parents[2]


def test_every_public_name_exists_once() -> None:
    assert len(set(hp.__all__)) == len(hp.__all__)
    assert all(hasattr(hp, name) for name in hp.__all__)
    assert set(hp.__all__) <= set(dir(hp))


def test_the_version_is_written_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "hyperion.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", hp.__version__)


def test_submodules_come_on_first_use_and_unknown_names_are_refused() -> None:
    assert hp.testing.dot_test is not None
    with pytest.raises(AttributeError, match="no attribute 'backend'"):
        hp.backend  # noqa: B018


def test_import_loads_neither_cupy_nor_scipy_nor_the_floors_above() -> None:
    heavy = ("cupy", "scipy", "h5py", "matplotlib", "hyperion.pde", "hyperion.optim")
    code = f"import sys, hyperion; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
