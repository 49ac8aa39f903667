"""README's Python lines run as written, and its commands are the ones CI runs."""

import doctest
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hyperion.cli.commands import read_request
from hyperion.cli.scenarios import checked, find_scenario, parse
from hyperion.io.toml import flatten_table, read_toml

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
AWK = next(line for line in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines() if line.startswith("command=$("))


def commands() -> dict[str, str]:
    return dict(re.findall(r"<!-- (main job|tests) -->\n```sh\n(.*?)\n```", README, re.DOTALL))


def test_the_python_example_runs_as_written():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["u_xx"].shape == (5,) and names["each"].shape == (4, 3)
    assert names["gathers"].shape == (2, 100, 500)
    gradient = np.asarray(names["gradient"])
    assert gradient.shape == (60, 100) and np.all(np.isfinite(gradient)) and np.abs(gradient).max() > 0 and float(names["value"]) > 0


@pytest.mark.parametrize("path", [path for path in sorted(ROOT.glob("docs/*.md")) if ">>>" in path.read_text(encoding="utf-8")],
                         ids=lambda path: path.name)
def test_the_examples_in_the_docs_run(path):
    failed, tried = doctest.testfile(str(path), module_relative=False)
    assert tried and not failed


def test_two_commands_of_one_line_each():
    assert set(commands()) == {"main job", "tests"} and all("\n" not in command for command in commands().values())
    assert all(command.startswith("python3 -m venv .venv && ") for command in commands().values())


def test_ci_runs_the_readme_command():
    script = AWK + '; printf "%s" "$command"'
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == commands()["tests"]


@pytest.mark.parametrize("path", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), f"{path.name} links to {target}"


def test_contributing_is_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) < 60


def command_lines() -> list[tuple[str, list[str]]]:
    """Every `hyperion run` and `hyperion export` line of a shell block in README and docs."""
    found = []
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))):
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            for command in re.findall(r"hyperion ((?:run|export) [^\n;&#]+)", block):
                found.append((path.name, command.split()))
    return found


@pytest.mark.parametrize("page, words", command_lines(), ids=lambda value: value if isinstance(value, str) else " ".join(value))
def test_documented_options_exist(page, words):
    name = "wavefield" if words[:2] == ["export", "fields"] else words[1]
    scenario = find_scenario(name)
    request = read_request(words[2:], scenario)
    for key, text in request.options.items():
        parse(text, scenario.defaults[key], f"--{key}")
    if request.config:
        assert checked(flatten_table(read_toml(ROOT / request.config)), scenario.defaults, request.config)


@pytest.mark.parametrize("command", ["editable_wheel", "bdist_wheel"])
def test_an_editable_install_has_the_checkout_on_the_path(command, monkeypatch):
    """Python started in the folder above a clone called hyperion finds the package: no rename makes setuptools hide it behind a finder."""
    setuptools = pytest.importorskip("setuptools")
    given: dict = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: given.update(options))
    monkeypatch.setattr(sys, "argv", ["setup.py", command])
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    assert {"hyperion", "hyperion.cpu.kernels", "hyperion.gpu.kernels"} <= set(given["packages"])
    scenarios = {"hyperion_scenarios": "scenarios"}
    assert given["package_dir"] == ({"": "."} if command == "editable_wheel" else scenarios)
    assert ("hyperion_scenarios" in given["packages"]) == (command == "bdist_wheel")
