"""`python -m cs336` is the command `cs336`."""

import sys

from cs336.cli import main

if __name__ == "__main__":
    sys.exit(main())
