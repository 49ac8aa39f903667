"""The commands: what each line of `hyperion ...` does, and the exit codes 0, 2 (refused input) and 130 (interrupted)."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperion import config
from hyperion.cli.cache import cache_command
from hyperion.cli.info import info_text
from hyperion.cli.run import Run, is_run
from hyperion.cli.scenarios import Scenario, checked, find_scenario, merge, parse, scenario_names
from hyperion.errors import FileError, HyperionError, InputError, nearest
from hyperion.gpu.device import check
from hyperion.io.toml import flatten_table, read_toml

__all__ = ["main"]

HELP = """usage: hyperion COMMAND ...

  run SCENARIO     run a scenario, or a script of your own (path/to/name.py); results, figures and a report go to a directory
        --out DIR          the run directory (default runs/SCENARIO)
        --config FILE      a TOML file of options
        --KEY VALUE        one option; a list is written with commas: --frequencies 2.5,4,8
        --device DEVICE    cpu or cuda:0 (default cpu)
        --resume           go on with the run in that directory, from its last checkpoint
        --overwrite        replace the run in that directory
        --smoke            seconds instead of minutes: the overrides of the scenario's [smoke] table
        --help             the scenario's options with their defaults
  list             the scenarios
  info             versions, devices, compilers, caches
  cache [clear]    the machine code kept on disk: shown, or cleared (all of it, or `clear cpu`, `clear gpu`)
  export fields    snapshots of a wavefield as HDF5 and XDMF, for ParaView; options as for run, --help shows them
  make-data KIND   samples of a solver as one HDF5 file, for training; --help shows the kinds and options
  bench CASE       time a case of benchmarks/ beside the peers installed (from a checkout); --json FILE keeps the figures

Exit codes: 0, 2 (refused input), 130 (interrupted).
"""
SWITCHES = ("resume", "overwrite", "smoke", "help")
EXPORTS = {"fields": "wavefield"}        # what `hyperion export` can write, and the scenario that does


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; refused input is one line on stderr, without a traceback.

    >>> main(["list", "--please"])
    2
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not words or words[0] in ("--help", "-h", "help"):
            print(HELP, end="")
            return 0 if words else 2
        refuse_environment()
        command, *rest = words
        if command not in COMMANDS:
            raise InputError(f"unknown command {command!r}; {nearest(command, COMMANDS)}")
        return COMMANDS[command](rest)
    except HyperionError as error:
        print(f"hyperion: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"hyperion: not enough memory ({error or 'no size given'}); lower what makes the arrays large: a finer spacing or step, a "
              "longer duration, more nodes, more shots at once", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hyperion: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:                                        # `hyperion list | head`: the reader has gone, nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


@dataclass
class Request:
    """What a line `run ...` asks for: the command's own options, and the scenario's as text."""

    out: str | None = None
    config: str = ""
    device: str = "cpu"
    switches: set[str] = field(default_factory=set)
    options: dict[str, str] = field(default_factory=dict)


def read_request(words: Sequence[str], scenario: Scenario) -> Request:
    """Return the request of a list of words. Raises: InputError for an unknown option, a missing value or a stray word."""
    request, words = Request(), list(words)
    valid = ["out", "config", "device", *SWITCHES, *scenario.defaults]
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise InputError(f"unexpected {word!r}; options are written --key value, a list with commas and without spaces")
        key, equals, value = word[2:].partition("=")
        if key not in valid:
            key = key.replace("-", "_") if key.replace("-", "_") in valid else key
        if key not in valid:
            raise InputError(f"unknown option --{key} of scenario {scenario.name!r}; {nearest(key, valid)}")
        if key in SWITCHES:
            if equals:
                raise InputError(f"--{key} takes no value, got {value!r}; write --{key} alone")
            request.switches.add(key)
            continue
        if not equals:
            if not words or words[0].startswith("--"):
                raise InputError(f"--{key} needs a value; write --{key} VALUE")
            value = words.pop(0)
        if key in ("out", "config", "device"):
            setattr(request, key, value)
        else:
            request.options[key] = value
    return request


def run_command(words: list[str]) -> int:
    """`hyperion run SCENARIO ...`"""
    if words in ([], ["--help"], ["-h"]):
        print(HELP, end="")
        return 0 if words else 2
    name, *rest = words
    if name.startswith("-"):
        raise InputError(f"run: the scenario comes first, got {name!r}; {nearest(name, scenario_names())}")
    return run_scenario(find_scenario(name), rest)


def run_scenario(scenario: Scenario, words: list[str]) -> int:
    """Run a scenario with the options of a command line."""
    request = read_request(words, scenario)
    if "help" in request.switches:
        print(f"{scenario.name}: {scenario.summary}\n\nOptions and their defaults:\n\n{scenario.options_text}", end="")
        return 0
    check(request.device)
    if request.out is not None and not request.out.strip():
        raise InputError(f"--out {request.out!r}: is empty; give a folder, or leave --out out for {Path('runs') / scenario.name}")
    directory = Path(request.out or Path("runs") / scenario.name)
    resume, smoke = "resume" in request.switches, "smoke" in request.switches
    options = merge(scenario, stored_options(scenario, directory) if resume else {}, *given_options(scenario, request, smoke))
    main_function = scenario.load()
    run = Run(directory, options, scenario.name, scenario.summary, request.device, resume, "overwrite" in request.switches, smoke)
    with run.active():
        main_function(run, options)
    run.log(f"{scenario.name}: results, figures and report.html in {directory}")
    return 0


def given_options(scenario: Scenario, request: Request, smoke: bool) -> list[dict[str, Any]]:
    """Return what the user asked to differ from the defaults, the strongest last: [smoke], the file, the command line."""
    from_file: dict[str, Any] = {}
    if request.config:
        from_file = checked(flatten_table(read_toml(request.config, "--config")), scenario.defaults, f"--config {request.config}")
    from_line = {key: parse(text, scenario.defaults[key], f"--{key}") for key, text in request.options.items()}
    return [scenario.smoke if smoke else {}, from_file, from_line]


def stored_options(scenario: Scenario, directory: Path) -> dict[str, Any]:
    """Return the options of the run to resume, so that they need not be given again."""
    if not is_run(directory):
        return {}
    path = directory / "config.toml"
    return checked(flatten_table(read_toml(path, "--resume")), scenario.defaults, str(path))


def list_command(words: list[str]) -> int:
    """`hyperion list`"""
    refuse_words("list", words)
    names = scenario_names()
    for name in names:
        print(f"{name:<{max(map(len, names))}}  {find_scenario(name).summary}")
    return 0


def info_command(words: list[str]) -> int:
    """`hyperion info`"""
    refuse_words("info", words)
    print(info_text())
    return 0


def export_command(words: list[str]) -> int:
    """`hyperion export fields ...`"""
    if not words or words[0] not in EXPORTS:
        raise InputError(f"export {words[0] if words else ''!r}: {nearest(words[0] if words else '', EXPORTS)}; write `hyperion export "
                         "fields --help`")
    return run_scenario(find_scenario(EXPORTS[words[0]]), words[1:])


def bench_command(words: list[str]) -> int:
    """`hyperion bench CASE [--json FILE]`: run benchmarks/<case>.py of the checkout in a process of its own."""
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    if not folder.is_dir():
        raise FileError(f"bench: there is no folder {folder}; benchmarks are not installed: clone the repository, "
                        "`pip install -e .` in it, and run `hyperion bench` there")
    scripts = (path for path in folder.glob("*.py") if not path.stem.startswith("_"))
    cases = sorted(path.stem for path in scripts if "def main(" in path.read_text(encoding="utf-8"))
    if not words or words[0] not in cases:
        raise InputError(f"bench {words[0] if words else ''!r}: unknown case; {nearest(words[0] if words else '', cases)}")
    return subprocess.run([sys.executable, str(folder / f"{words[0]}.py"), *words[1:]], check=False).returncode


def make_data_command(words: list[str]) -> int:
    """`hyperion make-data KIND ...`; the solvers are imported for it alone."""
    return importlib.import_module("hyperion.cli.make_data").make_data_command(words)


def refuse_environment() -> None:
    """Raise InputError if an environment variable of Hyperion has a value that cannot be."""
    try:
        config.threads()
    except ValueError as error:
        raise InputError(str(error)) from None


def refuse_words(command: str, words: list[str]) -> None:
    if words:
        raise InputError(f"{command} takes no argument, got {words[0]!r}; write `hyperion {command}`")


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": run_command, "list": list_command, "info": info_command, "export": export_command, "bench": bench_command,
    "make-data": make_data_command, "cache": cache_command,
}
