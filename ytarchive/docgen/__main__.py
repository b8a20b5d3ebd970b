"""Write the generated pages of docs/. With --check: report stale pages, exit code 1 when there are any."""

import argparse
import sys

from ytarchive.docgen import pages


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ytarchive.docgen", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only report stale pages; exit code 1 if there are any")
    if not parser.parse_args(arguments).check:
        pages.write()
        return 0
    found = pages.stale()
    sys.stderr.writelines(f"{path} is stale: run `make docs`\n" for path in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
