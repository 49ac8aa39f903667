"""The command line: `hyperion run | list | info | export | make-data | bench`."""

import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperion.cli.progress import Progress
    from hyperion.cli.run import Run
    from hyperion.cli.scenarios import Config

__all__ = ["Config", "Progress", "Run", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; Ctrl-C while the command is still being imported ends it with 130 as well.

    >>> main(["list", "--please"])
    2
    """
    try:
        return importlib.import_module("hyperion.cli.commands").main(arguments)
    except KeyboardInterrupt:
        print("hyperion: interrupted", file=sys.stderr)
        return 130


def __getattr__(name: str) -> Any:
    if name not in ("Config", "Progress", "Run"):
        raise AttributeError(f"module 'hyperion.cli' has no attribute {name!r}")
    folder = {"Config": "scenarios", "Progress": "progress", "Run": "run"}
    return getattr(importlib.import_module(f"hyperion.cli.{folder[name]}"), name)
