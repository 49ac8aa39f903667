"""`hyperion make-data KIND ...`: data sets from the solvers."""

import sys
import time
from typing import Any

from hyperion.cli.progress import duration
from hyperion.cli.scenarios import checked, parse
from hyperion.cpu.allocation import keep_pages
from hyperion.errors import InputError, nearest
from hyperion.io.toml import flatten_table, read_toml
from hyperion.pde.datasets import RECIPES, Recipe, make_dataset

__all__ = ["make_data_command"]

OWN: dict[str, Any] = {"samples": 1, "seed": 0, "workers": 1, "out": "", "config": ""}
SWITCHES = ("resume", "overwrite", "help")
HELP = """usage: hyperion make-data KIND --samples N --out FILE.h5 [options]

  --samples N        how many
  --out FILE.h5      the file; batches are kept in FILE.h5.parts until it is whole
  --seed S           whole number, default 0; sample i is drawn by hp.random.Generator(S).at(i)
  --workers W        processes, default 1; the file is the same bytes for any number
  --config FILE      a TOML file of the kind's options; the command line wins over it
  --KEY VALUE        one of the kind's options; hyperion make-data KIND --help shows them
  --resume           go on with a run that was interrupted
  --overwrite        replace FILE.h5

Kinds:
"""


def make_data_command(words: list[str]) -> int:
    """`hyperion make-data KIND ...`"""
    if not words or words[0] in ("--help", "-h"):
        width = max(map(len, RECIPES))
        print(HELP + "".join(f"  {name:<{width}}  {recipe.summary}\n" for name, recipe in RECIPES.items()), end="")
        return 0 if words else 2
    if words[0] not in RECIPES:
        raise InputError(f"make-data {words[0]!r}: unknown kind; {nearest(words[0], RECIPES)}")
    recipe = RECIPES[words[0]]
    own, options, switches = read_words(words[1:], recipe)
    if "help" in switches:
        print(f"{recipe.name}: {recipe.summary}\n\nOptions and their defaults:\n\n{recipe.help}", end="")
        return 0
    for name in ("samples", "out"):
        if name not in own:
            raise InputError(f"make-data {recipe.name}: --{name} is missing; hyperion make-data {recipe.name} --samples 1000 --out "
                             f"{recipe.name}.h5")
    keep_pages()
    shown = Shown(recipe.name)
    path = make_dataset(
        recipe.name, own["out"], own["samples"], seed=own.get("seed", 0), workers=own.get("workers", 1), resume="resume" in switches,
        overwrite="overwrite" in switches, progress=shown, **options)
    print(f"{path}: {own['samples']} samples, {path.stat().st_size / 2**20:.1f} MiB", file=sys.stderr)
    return 0


def read_words(words: list[str], recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any], set[str]]:
    """Return the command's own options, the kind's, and the switches. Raises: InputError for what is unknown or has no value."""
    own: dict[str, Any] = {}
    options: dict[str, Any] = {}
    switches: set[str] = set()
    words, defaults = list(words), recipe.defaults
    valid = [*OWN, *SWITCHES, *defaults]
    while words:
        word = words.pop(0)
        key, equals, value = word[2:].partition("=")
        if not word.startswith("--"):
            raise InputError(f"unexpected {word!r}; options are written --key value")
        key = key if key in valid else key.replace("-", "_")
        if key not in valid:
            raise InputError(f"unknown option --{key} of make-data {recipe.name}; {nearest(key, valid)}")
        if key in SWITCHES:
            if equals:
                raise InputError(f"--{key} takes no value, got {value!r}; write --{key} alone")
            switches.add(key)
            continue
        if not equals:
            if not words or words[0].startswith("--"):
                raise InputError(f"--{key} needs a value; write --{key} VALUE")
            value = words.pop(0)
        place = own if key in OWN else options
        place[key] = parse(value, OWN[key] if key in OWN else defaults[key], f"--{key}")
    if own.get("config"):
        table = flatten_table(read_toml(own["config"], "--config"))
        options = checked(table, defaults, f"--config {own['config']}") | options
    return own, options, switches


class Shown:
    """Prints how many samples are done, at what rate and for how much longer, every few seconds."""

    EVERY = 5.0         # [s]

    def __init__(self, name: str):
        self.name, self.began, self.shown, self.start = name, time.monotonic(), 0.0, -1

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.start < 0:
            self.start = done
            if done:
                print(f"{self.name}: {done} of {total} samples are there already", file=sys.stderr)
            return
        if done < total and now - self.shown < self.EVERY:
            return
        self.shown = now
        rate = (done - self.start) / max(now - self.began, 1e-9)
        print(f"{self.name}: {done}/{total} samples, {rate:.3g}/s, {duration((total - done) / max(rate, 1e-9))} left",
              file=sys.stderr, flush=True)
