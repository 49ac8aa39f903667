"""Options: what wins over what, which types pass, and what is refused with the nearest valid name."""

import sys
from pathlib import Path

import pytest

from hyperion.cli import Config, commands, main
from hyperion.cli.scenarios import checked, find_scenario, merge, parse, scenario_folder, scenario_names, typed
from hyperion.errors import FileError, InputError
from hyperion.io import read_toml
from hyperion.io.toml import flatten_table

WALK = Path(__file__).with_name("walk.py")
RESERVED = {"out", "config", "device", "resume", "overwrite", "smoke", "help"}


def test_later_layers_win():
    walk = find_scenario(str(WALK))
    config = merge(walk, walk.smoke, {"steps": 4}, {"steps": 5, "label": "x"})
    assert (config.steps, config.label, config.size, config.pause.seconds) == (5, "x", 4, 0.001)


def test_config_reads_as_attributes_and_items():
    config = Config({"a": 1, "table": {"b": [2.0]}})
    assert config.a == config["a"] == 1 and config.table.b == [2.0] and list(config) == ["a", "table"] and len(config) == 2
    assert repr(config) == "Config(a=1, table=Config(b=[2.0]))"
    with pytest.raises(AttributeError, match=r"no option 'tabel'; did you mean 'table'"):
        _ = config.tabel


@pytest.mark.parametrize("text, default, value", [
    ("3", 1, 3), ("-3", 1, -3), ("3", 1.0, 3.0), ("1e-3", 1.0, 1e-3), ("true", False, True), ("False", True, False),
    ("", "x", ""), ("a,b", "x", "a,b"), ("1,2", [5], [1, 2]), ("[1, 2.5]", [5.0], [1.0, 2.5]), ("a", ["x"], ["a"]), ("", [1], []),
])
def test_text_becomes_the_type_of_the_default(text, default, value):
    got = parse(text, default, "--x")
    assert got == value and type(got) is type(default)


@pytest.mark.parametrize("text, default, word", [
    ("3.5", 1, "whole number"), ("x", 1.0, "a number"), ("nan", 1.0, "a number"), ("yes", True, "true or false"),
    ("1,x", [5], "item 2"), ("1,,2", [5], "item 2"), ("", 1, "whole number"), ("1e3", 1, "whole number"),
])
def test_text_of_another_type_is_refused(text, default, word):
    with pytest.raises(InputError, match=f"--x.*{word}"):
        parse(text, default, "--x")


@pytest.mark.parametrize("value, default", [
    ("3", 1), (3.0, 1), (True, 1), (1, True), (1, "x"), ("1.0", 1.0), (True, 1.0), (float("nan"), 1.0), ([1], 1), (1, [1]), (["x"], [1]),
    ([1.5], [1]), ({}, 1),
])
def test_a_toml_value_of_another_type_is_refused(value, default):
    with pytest.raises(InputError, match=r"FILE: x.*must be a"):
        checked({"x": value}, {"x": default}, "FILE")


def test_whole_numbers_pass_as_numbers():
    got = checked({"x": 3, "y": [1, 2.5]}, {"x": 1.0, "y": [1.0]}, "FILE")
    assert got == {"x": 3.0, "y": [1.0, 2.5]} and type(got["x"]) is float and type(got["y"][0]) is float


@pytest.mark.parametrize("words, expected", [
    ([], ["usage:"]),
    (["rum", "fwi"], ["unknown command 'rum'", "did you mean 'run'"]),
    (["run", "wavefeld"], ["unknown scenario 'wavefeld'", "did you mean 'wavefield'"]),
    (["run", "--smoke"], ["scenario comes first"]),
    (["run", "no/such.py"], ["no file no/such.py"]),
    (["run", str(WALK), "--stepz", "3"], ["unknown option --stepz", "did you mean 'steps'"]),
    (["run", str(WALK), "--pause.secs", "3"], ["unknown option --pause.secs", "pause.seconds"]),
    (["run", str(WALK), "--steps"], ["--steps needs a value"]),
    (["run", str(WALK), "--steps", "--smoke"], ["--steps needs a value"]),
    (["run", str(WALK), "--steps", "many"], ["--steps='many'", "whole number"]),
    (["run", str(WALK), "--steps=0"], ["--steps 0", "at least 1"]),
    (["run", str(WALK), "--weights", "1", "2"], ["unexpected '2'", "commas"]),
    (["run", str(WALK), "--pause.seconds", "inf"], ["--pause.seconds='inf'", "finite"]),
    (["run", str(WALK), "--out", ""], ["--out ''", "give a folder"]),
    (["run", str(WALK), "--smoke=yes"], ["--smoke takes no value"]),
    (["run", str(WALK), "--resume", "--overwrite"], ["exclude each other"]),
    (["run", str(WALK), "--config", "none.toml"], ["--config='none.toml'", "cannot be read"]),
    (["run", str(WALK), "--config", "bad.toml"], ["bad.toml", "not TOML"]),
    (["run", str(WALK), "--config", "key.toml"], ["unknown key 'pause.secods'", "did you mean 'pause.seconds'"]),
    (["run", str(WALK), "--config", "type.toml"], ["steps=2.5", "whole number"]),
    (["run", str(WALK), "--device", "gpu"], ["device", "gpu"]),
    (["list", "all"], ["list takes no argument"]),
    (["info", "all"], ["info takes no argument"]),
    (["export"], ["export", "fields"]),
    (["export", "field"], ["did you mean 'fields'"]),
    (["export", "fields", "--modle", "x"], ["unknown option --modle", "did you mean 'model'"]),
    (["bench", "nothing-like-it"], ["bench", "nothing-like-it"]),
])
def test_refused_lines_exit_with_2_and_touch_nothing(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text("steps = many")
    Path("key.toml").write_text("[pause]\nsecods = 1.0")
    Path("type.toml").write_text("steps = 2.5")
    before = sorted(tmp_path.rglob("*"))
    assert main(words) == 2
    out, err = capsys.readouterr()
    for word in expected:
        assert word in out + err
    assert "Traceback" not in err and sorted(tmp_path.rglob("*")) == before


def test_a_gpu_that_is_not_there_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)   # as on a machine without CuPy
    assert main(["run", str(WALK), "--device", "cuda:0"]) == 2
    assert "cuda:0" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_wrong_number_of_threads_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("HYPERION_THREADS", "two")
    assert main(["info"]) == 2
    assert "HYPERION_THREADS='two'" in capsys.readouterr().err


def test_a_scenario_without_main_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("empty.py").write_text('"""Nothing."""')
    assert main(["run", "empty.py"]) == 2
    assert "no file empty.toml" in capsys.readouterr().err
    Path("empty.toml").write_text("")
    assert main(["run", "empty.py"]) == 2
    assert "no function main(run, config)" in capsys.readouterr().err


def test_a_wrong_smoke_table_is_refused(tmp_path):
    (tmp_path / "s.py").write_text("")
    (tmp_path / "s.toml").write_text("a = 1\n[smoke]\nb = 2")
    with pytest.raises(InputError, match="unknown key 'b'"):
        find_scenario(str(tmp_path / "s.py"))
    (tmp_path / "s.toml").write_text("smoke = 1")
    with pytest.raises(FileError, match="must be a table"):
        find_scenario(str(tmp_path / "s.py"))


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_is_well_formed(name):
    scenario = find_scenario(name)
    assert scenario.summary != "no description" and scenario.smoke, f"{name} needs a docstring and a [smoke] table"
    assert not RESERVED & set(scenario.defaults), f"{name} has an option that belongs to the command"
    for key, default in scenario.defaults.items():
        assert isinstance(default, bool | int | float | str | list), f"{name}: {key}"
        assert not isinstance(default, list) or default, f"{name}: the default of {key} is an empty list, which has no type"
    assert callable(scenario.load())


def test_no_scenario_is_without_its_options():
    assert scenario_names() == sorted(path.stem for path in scenario_folder().glob("*.py"))


def test_help_shows_the_options_with_their_comments(capsys):
    assert main(["run", str(WALK), "--help"]) == 0
    out = capsys.readouterr().out
    assert "steps = 6               # how far" in out and "A random walk" in out
    assert main(["--help"]) == 0


def test_list_and_info(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in scenario_names())
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("numpy", "cpu", "gcc", "ziglang", "cache", "scenarios"))


def test_the_configuration_as_run_can_be_given_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--steps", "2", "--label", 'a "label" \\ ü', "--weights", "3,4", "--pause.seconds=1e-3", "--loud", "true"]
    assert main(["run", str(WALK), *options]) == 0
    assert read_toml("runs/walk/config.toml") == {
        "steps": 2, "size": 4, "seed": 1, "label": 'a "label" \\ ü', "weights": [3.0, 4.0], "loud": True, "pause": {"seconds": 0.001}}
    assert main(["run", str(WALK), "--config", "runs/walk/config.toml", "--out", "again"]) == 0
    assert Path("again/config.toml").read_bytes() == Path("runs/walk/config.toml").read_bytes()


def test_infinite_numbers_of_a_file_are_refused():
    with pytest.raises(InputError, match=r"infinite.* and finite"):
        typed(float("inf"), 1.0, "x")
    with pytest.raises(InputError, match="63 bits"):
        typed(10**400, 1.0, "x")
    with pytest.raises(InputError, match="whole number"):
        parse("9" * 400, 1, "--x")


def test_too_little_memory_is_told(capsys, monkeypatch):
    def fill(words):
        raise MemoryError("Unable to allocate 7.3 TiB for an array with shape (1000000, 1000000)")

    monkeypatch.setitem(commands.COMMANDS, "list", fill)
    assert main(["list"]) == 2
    told = capsys.readouterr().err
    assert "7.3 TiB" in told and "finer spacing" in told and "Traceback" not in told


def test_ctrl_c_while_the_commands_are_imported(capsys, monkeypatch):
    class Interrupted:
        """Stands for the module that was being imported."""

        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "hyperion.cli.commands", Interrupted())
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "hyperion: interrupted\n"


@pytest.mark.parametrize("path", sorted(scenario_folder().glob("*_paper.toml")), ids=lambda path: path.stem)
def test_the_settings_of_papers_are_options_of_their_scenario(path):
    scenario = find_scenario(path.stem.removesuffix("_paper"))
    assert checked(flatten_table(read_toml(path)), scenario.defaults, path.name)


@pytest.mark.parametrize("call, message", [
    (lambda config: config.at_least(1, "shots", "steps"), "--shots 0: must be at least 1"),
    (lambda config: config.above(0, "rate", "shots"), "--rate -0.5, --shots 0: must be above 0"),
    (lambda config: config.above(0, "finer"), r"--finer \[48, -3\]: must be above 0"),
    (lambda config: config.multiples(8, "finer", "shots"), r"--finer \[48, -3\], --shots 0: must be a multiple of 8"),
    (lambda config: config.solver.at_least(8, "layer"), r"--solver\.layer 7: must be at least 8"),
    (lambda config: config.solver.among((2, 4), "layer"), r"--solver\.layer 7: choose among 2, 4"),
    (lambda config: config.in_rows("finer", "kinds", "none"), r"--none \[\]: has 0 values for 2 of --finer; give one for each, or one for"),
    (lambda config: config.in_rows("none"), r"--none \[\]: give at least one"),
    (lambda config: config.among(["a", "b"], "kind"), "--kind c: choose among a, b"),
    (lambda config: config.among(["a", "b"], "kinds", "none"), r"--kinds \['a', 'c'\], --none \[\]: choose among a, b"),
])
def test_options_that_a_scenario_refuses(call, message):
    config = Config({"shots": 0, "steps": 3, "rate": -0.5, "kind": "c", "kinds": ["a", "c"], "none": [], "finer": [48, -3],
                     "solver": {"layer": 7}})
    with pytest.raises(InputError, match=message):
        call(config)


def test_options_that_a_scenario_accepts():
    config = Config({"shots": 1, "rate": 0.5, "kind": "a", "kinds": ["b", "a"]})
    config.at_least(1, "shots")
    config.above(0, "shots", "rate")
    config.among("ab", "kind", "kinds")
    several = Config({"finer": [48, 8], "steps": [10], "none": []})
    several.above(0, "finer", "none")
    several.multiples(8, "finer")
    assert several.in_rows("finer", "steps") == [(48, 10), (8, 10)]
