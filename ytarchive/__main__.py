"""`python -m ytarchive`."""

import sys

from ytarchive.cli import main

if __name__ == "__main__":
    sys.exit(main())
