"""`hyperion cache`: what lies on disk is shown and cleared; nothing else is touched. And many processes may compile at once."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hyperion.cli import main
from hyperion.cpu import find_compiler


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERION_CACHE", str(tmp_path))
    return tmp_path


def test_an_empty_cache(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0 and main(["cache", "clear"]) == 0
    out = capsys.readouterr().out
    assert str(folder) in out and "cpu  empty" in out and "0 files removed" in out


def test_files_are_shown_and_cleared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, name, size in (("cpu", "a.so", 1 << 20), ("cpu", "b.so", 1 << 20), ("gpu", "c.cubin", 10), ("cpu", "notes.txt", 5)):
        (folder / part).mkdir(exist_ok=True)
        (folder / part / name).write_bytes(bytes(size))
    old, new = folder / "cpu" / "build-old", folder / "cpu" / "build-new"
    for path in (old, new):
        path.mkdir()
    os.utime(old, (time.time() - 7200,) * 2)
    os.utime(folder / "cpu" / "a.so", (time.time() - 10 * 86400,) * 2)
    assert main(["cache"]) == 0
    out = capsys.readouterr().out
    assert "cpu  2 files, 2.0 MiB, 0.0 to 10.0 days old, 1 unfinished" in out and "gpu  1 files" in out
    assert main(["cache", "clear", "cpu"]) == 0
    assert "2 files removed, 2.0 MiB" in capsys.readouterr().out
    assert sorted(path.name for path in folder.rglob("*") if path.name not in ("cpu", "gpu")) == ["build-new", "c.cubin", "notes.txt"]
    assert main(["cache", "clear"]) == 0 and not (folder / "gpu" / "c.cubin").exists()


@pytest.mark.parametrize(("words", "text"), [
    (["show"], "cache 'show'"), (["clear", "cuda"], "cache clear 'cuda'"), (["clear", "cpu", "gpu"], "name one part, or none for all"),
])
def test_refusals(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", *words]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
def test_many_processes_fill_one_cache(folder: Path) -> None:
    """They compile the same program at once, one while the cache is cleared: all get the same numbers, and no half file is left."""
    code = "import hyperion as hp; print(float(hp.jit(lambda x: hp.sum(hp.tanh(x) * 1.25 + hp.exp(x)))(hp.ones(7))))"
    many = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    main(["cache", "clear"])
    answers = {one.communicate(timeout=120)[0] for one in many}
    assert len(answers) == 1 and {one.returncode for one in many} == {0}
    assert not list((folder / "cpu").glob("build-*"))
