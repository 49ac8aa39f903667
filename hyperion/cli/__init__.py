"""The command line: `hyperion run | list | info | export | bench`."""

from hyperion.cli.commands import main
from hyperion.cli.run import Progress, Run
from hyperion.cli.scenarios import Config

__all__ = ["Config", "Progress", "Run", "main"]
