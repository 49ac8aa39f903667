"""`hyperion make-data`: the same file however it is made, what it says of itself, and refused input."""
import dataclasses
import re
import shutil
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import hyperion as hp
from hyperion import io, pde
from hyperion.cli.commands import main
from hyperion.cli.make_data import read_words
from hyperion.errors import FileError, InputError, NonFiniteError
from hyperion.pde.datasets import RECIPES, making

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "acoustic": {"resolution": 24, "shots": 2, "duration": 0.2, "step": 2e-3, "snapshots": 3, "boundary_width": 8},
    "burgers": {"resolution": 32, "refine": 2, "step": 0.01, "saves": 2},
    "darcy": {"resolution": 9, "refine": 2},
    "gray-scott": {"resolution": 16, "duration": 10.0, "saves": 2},
    "navier-stokes": {"resolution": 16, "duration": 0.4, "saves": 2},
    "random-field": {"resolution": 16, "axes": 1, "periodic": False},
    "shallow-water": {"resolution": 48, "step": 0.01, "duration": 0.1, "saves": 2},
}


@pytest.fixture(autouse=True)
def leave_the_allocator(monkeypatch):
    """The command sets up its own process; in-process calls must not set up that of the tests."""
    monkeypatch.setattr("hyperion.cli.make_data.keep_pages", lambda: True)


@pytest.mark.parametrize("kind", sorted(RECIPES))
def test_every_kind_describes_itself(kind, tmp_path):
    path = pde.make_dataset(kind, tmp_path / "data.h5", 3, seed=5, batch=2, **SMALL[kind])
    data = io.read_dataset(path)
    declared = RECIPES[kind].arrays(RECIPES[kind].settled(SMALL[kind]))
    arrays = data.inputs | data.outputs
    assert set(arrays) == set(declared) and not list(tmp_path.glob("*.parts"))
    for name, array in arrays.items():
        assert array.shape[0] == 3 and array.dtype == np.float32 and len(data.axes[name]) == array.ndim and np.ptp(array) > 0
        assert (name in data.inputs) == (declared[name].role == "inputs")
        if array[0].size > 1:
            assert not np.array_equal(array[0], array[1])
    for name, value in (RECIPES[kind].settled(SMALL[kind]) | {"kind": kind, "seed": 5, "samples": 3, "batch": 2}).items():
        assert data.attributes[name] == value, name


def test_samples_are_the_solvers_and_the_seeds_draw_them(tmp_path):
    path = pde.make_dataset("burgers", tmp_path / "b.h5", 5, seed=9, batch=2, resolution=32, step=0.01, dtype="float64")
    data = io.read_dataset(path)
    with h5py.File(path) as file:
        key = file["seeds"].asstr()[3]
        assert file["outputs/solution"].attrs["axes"].tolist() == ["sample", "time", "x"]
    generator = hp.random.Generator(0).restore({"algorithm": "philox4x64-10", "key": key, "count": 0})
    start = pde.GaussianField(32, tau=5.0, alpha=2.0, scale=25.0).sample(generator, dtype="float64").numpy()
    assert np.array_equal(data.inputs["initial"][3], start)
    u = pde.BurgersSolver(pde.Torus(32), pde.ETDRK4(0.01)).solve(start, 1.0, viscosity=0.1).numpy()
    np.testing.assert_allclose(data.outputs["solution"][3], u, rtol=0, atol=1e-14)


def test_the_same_bytes_however_it_is_made(tmp_path, hyperion, monkeypatch):
    words = ["--samples", 7, "--seed", 2, "--batch", 2, "--resolution", 17, "--refine", 1]
    for name, more in (("one.h5", []), ("two.h5", ["--workers", 2])):
        code, _, err = hyperion("make-data", "darcy", *words, "--out", name, *more)
        assert code == 0, err
    one = (tmp_path / "one.h5").read_bytes()
    assert one == (tmp_path / "two.h5").read_bytes()

    made = []

    def stop_after_two(*arguments):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(arguments[3])
        return keep(*arguments)

    keep = making._one
    monkeypatch.setattr(making, "_one", stop_after_two)
    options = {"seed": 2, "batch": 2, "resolution": 17, "refine": 1}
    with pytest.raises(KeyboardInterrupt):
        pde.make_dataset("darcy", tmp_path / "three.h5", 7, **options)
    assert not (tmp_path / "three.h5").exists() and (tmp_path / "three.h5.parts").is_dir()
    with pytest.raises(FileError, match=r"interrupted.*--resume"):
        pde.make_dataset("darcy", tmp_path / "three.h5", 7, **options)
    with pytest.raises(InputError, match="seed was 2, now 3"):
        pde.make_dataset("darcy", tmp_path / "three.h5", 7, resume=True, **(options | {"seed": 3}))
    made.clear()
    seen = []
    pde.make_dataset("darcy", tmp_path / "three.h5", 7, resume=True, progress=lambda done, total: seen.append(done), **options)
    assert made == [2, 3] and seen == [4, 6, 7]
    assert one == (tmp_path / "three.h5").read_bytes()
    assert pde.make_dataset("darcy", tmp_path / "three.h5", 7, resume=True, **options).exists() and made == [2, 3]


def test_a_killed_run_resumes(tmp_path, start_hyperion, hyperion):
    words = ["make-data", "navier-stokes", "--samples", 12, "--batch", 1, "--resolution", 32, "--duration", 8, "--saves", 2, "--step", 0.01]
    process = start_hyperion(*words, "--out", "a.h5", "--workers", 2)
    limit = time.monotonic() + 60
    while len(list(tmp_path.glob("a.h5.parts/0*.h5"))) < 2 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = len(list(tmp_path.glob("a.h5.parts/0*.h5")))
    assert kept >= 2 and not (tmp_path / "a.h5").exists()
    # The workers end with their parent, and with them the lock: no batch is written any more.
    deadline = time.monotonic() + 20
    code = 2
    while code and time.monotonic() < deadline:
        code, _, err = hyperion(*words, "--out", "a.h5", "--resume")
    assert code == 0, err
    assert "samples are there already" in err
    code, _, err = hyperion(*words, "--out", "b.h5")
    assert code == 0, err
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_the_command_line(tmp_path, capsys):
    out = str(tmp_path / "f.h5")
    config = tmp_path / "own.toml"
    config.write_text("resolution = 32\ntau = 4.0\n")
    words = ["--samples", "2", "--out", out, "--config", str(config), "--tau", "6", "--mean-free=false"]
    assert main(["make-data", "random-field", *words]) == 0
    attributes = io.read_dataset(out).attributes
    assert (attributes["resolution"], attributes["tau"], attributes["mean_free"]) == (32, 6.0, False)
    assert main(["make-data", "--help"]) == 0 and all(kind in capsys.readouterr().out for kind in ("darcy",))
    assert main(["make-data", "darcy", "--help"]) == 0 and "lognormal = false" in capsys.readouterr().out


@pytest.mark.parametrize("words, message", [
    ([], "usage"),
    (["darci"], "did you mean 'darcy'"),
    (["darcy", "--out", "x.h5"], "--samples is missing"),
    (["darcy", "--samples", "2"], "--out is missing"),
    (["darcy", "--samples", "0", "--out", "x.h5"], "samples=0"),
    (["darcy", "--samples", "2", "--out", "x.npz"], "ends in .h5"),
    (["darcy", "--samples", "2", "--out", "no/x.h5"], "there is no folder no"),
    (["darcy", "--samples", "2", "--out", "x.h5", "--permeabilty", "2"], "unknown option --permeabilty"),
    (["darcy", "--samples", "2", "--out", "x.h5", "--resolution", "8.5"], "it must be a whole number"),
    (["darcy", "--samples", "2", "--out", "x.h5", "--resolution", "0"], "resolution=0"),
    (["darcy", "--samples", "2", "--out", "x.h5", "--resolution", "2"], "has nodes on the edges only"),
    (["random-field", "--samples", "2", "--out", "x.h5", "--resolution", "1", "--periodic=false"], "walls on both sides need a point each"),
    (["darcy", "--samples", "2", "--out", "x.h5", "--resolution"], "--resolution needs a value"),
    (["darcy", "--samples", "2", "--out", "x.h5", "--resume=yes"], "takes no value"),
    (["darcy", "--samples", "2", "--out", "x.h5", "--dtype", "float16"], 'give "float32" or "float64"'),
    (["darcy", "--samples", "2", "--out", "x.h5", "--low", "-3"], "must be positive and finite"),
    (["darcy", "--samples", "2", "--out", "x.h5", "--workers", "0"], "workers=0"),
    (["darcy", "--samples", "2", "--out", "x.h5", "--seed", "-1"], "seed=-1"),
    (["darcy", "--samples", "2", "--out", "x.h5", "stray"], "unexpected 'stray'"),
    (["darcy", "--samples", "2", "--out", "x.h5", "--resume", "--overwrite"], "exclude each other"),
    (["burgers", "--samples", "2", "--out", "x.h5", "--resolution", "33"], "even number of points"),
    (["burgers", "--samples", "2", "--out", "x.h5", "--step", "5", "--viscosity", "1e-6"], "the stable one"),
    (["random-field", "--samples", "2", "--out", "x.h5", "--axes", "3"], "axes=3"),
    (["acoustic", "--samples", "2", "--out", "x.h5", "--shots", "0"], "at least one shot"),
    (["acoustic", "--samples", "2", "--out", "x.h5", "--snapshots", "5000"], "more than the samples"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_refused_lines(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["make-data", *words]) == 2
    shown = capsys.readouterr()
    assert message in shown.out + shown.err and "Traceback" not in shown.err
    assert list(tmp_path.iterdir()) == []


def test_the_documented_lines_are_accepted():
    lines = re.findall(r"^hyperion make-data (.+?)(?: {2,}#.*)?$", (ROOT / "docs/data.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert lines
    for kind, *words in map(str.split, lines):
        RECIPES[kind].settled(read_words(words, RECIPES[kind])[1])


def test_files_in_the_way(tmp_path):
    path = pde.make_dataset("random-field", tmp_path / "f.h5", 2, resolution=8)
    before = path.read_bytes()
    with pytest.raises(FileError, match="exists; add --overwrite"):
        pde.make_dataset("random-field", path, 2, resolution=8)
    with pytest.raises(InputError, match="samples was 2, now 3"):
        pde.make_dataset("random-field", path, 3, resolution=8, resume=True)
    assert path.read_bytes() == before
    pde.make_dataset("random-field", path, 3, resolution=8, overwrite=True)
    assert io.read_dataset(path).inputs["field"].shape == (3, 8, 8)
    with pytest.raises(InputError, match="did you mean 'viscosity'"):
        pde.make_dataset("burgers", tmp_path / "b.h5", 2, viscosty=0.1)
    with pytest.raises(InputError, match=r"tau='5'.*must be a float"):
        pde.make_dataset("burgers", tmp_path / "b.h5", 2, tau="5")


def test_two_processes_do_not_share_a_folder(tmp_path, monkeypatch):
    keep = making._one

    def meet(*arguments):
        with pytest.raises(InputError, match="another process is making it"):
            pde.make_dataset("random-field", tmp_path / "f.h5", 2, resolution=8, resume=True)
        return keep(*arguments)

    monkeypatch.setattr(making, "_one", meet)
    assert pde.make_dataset("random-field", tmp_path / "f.h5", 2, resolution=8).exists()


def test_a_disk_that_is_too_full_keeps_the_batches(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(FileError, match=r"MiB, 0 are free.*--resume"):
        pde.make_dataset("random-field", tmp_path / "f.h5", 2, resolution=8)
    monkeypatch.undo()
    assert pde.make_dataset("random-field", tmp_path / "f.h5", 2, resolution=8, resume=True).exists()


def test_a_blow_up_names_the_samples(tmp_path, monkeypatch):
    def explode(options, generators):
        start = np.stack([np.full((1, 8), -50.0), np.full((1, 8), 50.0)], axis=1)
        pde.GrayScottSolver(pde.Torus(8), pde.ETDRK4(0.1)).solve(start, 100.0, diffusion=(1e-5, 1e-5), feed=0.0, kill=0.0)

    monkeypatch.setitem(RECIPES, "gray-scott", dataclasses.replace(RECIPES["gray-scott"], make=explode))
    with pytest.raises(NonFiniteError, match=r"samples 2 to 3: GrayScottSolver: the solution became NaN or infinite in step \d+ "):
        list(making._run("gray-scott", RECIPES["gray-scott"].settled({}), 0, [(1, range(2, 4))], tmp_path, 1))
