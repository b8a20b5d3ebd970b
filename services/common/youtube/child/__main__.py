"""A child of its own: `python -m services.common.youtube.child MEMORY_LIMIT`."""

import sys

from services.common.youtube.child.operations import serve

if __name__ == "__main__":
    serve(int(sys.argv[1]))
