"""The compiler and its cache: found or refused with a way out, one library for many processes, whole or rebuilt."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hyperion.cpu import compiler
from hyperion.cpu.compiler import Compiler, find_compiler, load
from hyperion.errors import CompilerError

ROOT = Path(__file__).resolve().parents[2]
TWICE = "int twice(int x) { return 2 * x; }"

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty kernel cache of its own, and nothing remembered from before."""
    monkeypatch.setenv("HYPERION_CACHE", str(tmp_path / "cache"))
    compiler._load.cache_clear()
    yield tmp_path / "cache" / "cpu"
    compiler._load.cache_clear()


def libraries(cache):
    return sorted(cache.glob("*.so"))


def in_another_process(text, cache, **options):
    """Load a text in a process of its own; returns the process, which prints twice(21) and the seconds spent in `load`."""
    program = (
        f"import time; from hyperion.cpu import load; start = time.perf_counter(); library = load({text!r}); "
        "print(library.twice(21), time.perf_counter() - start)"
    )
    environment = {**os.environ, "HYPERION_CACHE": str(cache.parent), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", program], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def test_a_library_is_compiled_once_and_kept(cache):
    assert load(TWICE).twice(21) == 42
    (library,) = libraries(cache)
    written = library.stat().st_mtime_ns
    compiler._load.cache_clear()
    assert load(TWICE).twice(4) == 8
    assert libraries(cache) == [library] and library.stat().st_mtime_ns == written
    assert list(cache.iterdir()) == [library]  # no scratch folders are left behind


def test_text_flags_and_compiler_make_another_library(cache, monkeypatch):
    first = load("int value(void) { return VALUE; }", ("-DVALUE=1",))
    assert (first.value(), load("int value(void) { return VALUE; }", ("-DVALUE=2",)).value()) == (1, 2)
    found = find_compiler()
    assert found is not None and len(libraries(cache)) == 2
    monkeypatch.setenv("HYPERION_CC", " ".join([*found.command, "-O1"]))
    assert load("int value(void) { return VALUE; }", ("-DVALUE=1",)).value() == 1
    assert len(libraries(cache)) == 3


def test_a_newer_compiler_is_another_compiler(tmp_path):
    path = tmp_path / "cc"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    before = Compiler((str(path),), "test").identity()
    path.write_text("#!/bin/sh\n# 2\n")
    assert Compiler((str(path),), "test").identity() != before


def test_a_second_process_loads_what_the_first_compiled(cache):
    assert load(TWICE).twice(21) == 42
    out, err = in_another_process(TWICE, cache).communicate(timeout=60)
    value, seconds = out.split()
    assert (value, err) == ("42", "") and float(seconds) < 0.1


def test_processes_that_compile_at_once_all_get_a_whole_library(cache):
    text = TWICE + "\n/* together */"
    processes = [in_another_process(text, cache) for _ in range(4)]
    assert [p.communicate(timeout=60)[0].split()[0] for p in processes] == ["42"] * 4
    assert len(libraries(cache)) == 1 and len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("damage", ["empty", "text", "head", "half", "all but the last byte"])
def test_a_damaged_library_is_built_again(cache, damage):
    """What a crash of the machine or a full disk may leave. In a process of its own: a bad library can take its process with it."""
    assert load(TWICE).twice(21) == 42
    (library,) = libraries(cache)
    whole = library.read_bytes()
    left = {
        "empty": b"",
        "text": b"not a library",
        "head": whole[:100],
        "half": whole[: len(whole) // 2],
        "all but the last byte": whole[:-1],
    }
    library.unlink()  # a new file: the old one is still mapped by this process
    library.write_bytes(left[damage])
    process = in_another_process(TWICE, cache)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.split()[0] == "42"
    assert in_another_process(TWICE, cache).communicate(timeout=60)[0].split()[0] == "42"


def test_text_that_is_refused(cache):
    with pytest.raises(CompilerError, match=r"(?s)refused generated C text \(exit \d+\):.*error"):
        load("int twice(int x) { return 2 * y; }")
    assert not libraries(cache)


def test_a_compiler_that_always_refuses(cache, tmp_path, monkeypatch):
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho 'licence expired' >&2\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setenv("HYPERION_CC", str(broken))
    with pytest.raises(CompilerError, match=r"(?s)broken-cc refused generated C text \(exit 7\):\nlicence expired"):
        load(TWICE)


def test_a_compiler_that_says_yes_and_writes_nothing(cache, tmp_path, monkeypatch):
    lazy = tmp_path / "lazy-cc"
    lazy.write_text("#!/bin/sh\nexit 0\n")
    lazy.chmod(0o755)
    monkeypatch.setenv("HYPERION_CC", str(lazy))
    with pytest.raises(CompilerError):
        load(TWICE)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    compiler._load.cache_clear()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HYPERION_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        CompilerError, match=r"kernel cache .*file.*: Not a directory; make it writable or set HYPERION_CACHE to a folder that is"
    ):
        load(TWICE + "\n/* elsewhere */")


# Finding one


@pytest.mark.parametrize("variable", ["HYPERION_CC", "CC"])
def test_an_unknown_compiler_is_named(variable, monkeypatch):
    monkeypatch.delenv("HYPERION_CC", raising=False)
    monkeypatch.setenv(variable, "no-such-compiler")
    with pytest.raises(CompilerError, match=r"HYPERION_CC or CC='no-such-compiler': no such program; name a C compiler .* or unset"):
        find_compiler()


def test_the_environment_goes_first_and_may_carry_flags(monkeypatch):
    found = find_compiler()
    assert found is not None
    program = shutil.which(found.command[0]) or found.command[0]
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("HYPERION_CC", f"'{program}' -O1")
    assert find_compiler() == Compiler((program, "-O1"), "environment")


def test_the_wheel_is_used_when_nothing_else_is_there(monkeypatch):
    for variable in ("HYPERION_CC", "CC"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "ziglang" else None)
    assert find_compiler() == Compiler((sys.executable, "-m", "ziglang", "cc"), "ziglang wheel")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert find_compiler() is None
    with pytest.raises(
        CompilerError, match=r"no C compiler found: looked for gcc, clang, cc and the ziglang wheel; install one \(pip install ziglang\)"
    ):
        load(TWICE)


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="the ziglang wheel is not installed (extra cc)")
@pytest.mark.full
def test_the_wheel_compiles_what_gcc_compiles(cache, monkeypatch):
    monkeypatch.setenv("HYPERION_CC", f"{sys.executable} -m ziglang cc")
    assert load(TWICE).twice(21) == 42


def test_first_use_compiles_in_under_two_seconds(cache):
    """A forward kernel of the usual kind: acoustic, two dimensions, order 8, absorbing layer, float32."""
    import numpy as np

    from hyperion import pde

    wave = pde.Solver(pde.Acoustic(), pde.Grid((40, 40), 10.0), order=8, boundary=pde.CPML(width=20), threads=1)
    engine = wave.engine(0, np.dtype(np.float32), "p")
    start = time.perf_counter()
    engine.loop("forward")
    # 2 s is the project's limit, on a quiet machine; 0.7 s were seen. Twice that is given to one that is busy with other tests.
    assert time.perf_counter() - start < 4.0
