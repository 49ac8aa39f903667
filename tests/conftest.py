"""What the tests share: a seeded random generator, and a way to use the command line as a user does."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hyperion.cpu import compiler

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def random() -> np.random.Generator:
    """A random generator with a fixed seed."""
    return np.random.default_rng(20260101)


@pytest.fixture
def quick_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the C compiler optimise less: for tests of many small simulations, whose time goes to it."""
    monkeypatch.setattr(compiler, "FLAGS", tuple("-O1" if flag == "-O3" else flag for flag in compiler.FLAGS))


@pytest.fixture
def start_hyperion(tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """Start `hyperion ...` as a process of its own in the test's folder; returns the process."""

    def start(*words: object, **options) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HYPERION_THREADS": "1"}
        return subprocess.Popen([sys.executable, "-m", "hyperion", *map(str, words)], cwd=tmp_path, env=environment, text=True,
                                **({"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options))

    return start


@pytest.fixture
def hyperion(start_hyperion) -> Callable[..., tuple[int, str, str]]:
    """Run `hyperion ...` to its end; returns exit code, stdout and stderr."""

    def run(*words: object, **options) -> tuple[int, str, str]:
        process = start_hyperion(*words, **options)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    return run
