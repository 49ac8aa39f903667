"""`python -m hyperion` is the command `hyperion`."""

import sys

from hyperion.cli import main

if __name__ == "__main__":
    sys.exit(main())
