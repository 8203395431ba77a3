"""``python -m functions.build PATH``: build a deployment package; prints its sizes and its digest."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vsearch.deploy.packages import HERE, MACHINES, build_package
from vsearch.errors import VsearchError


def main() -> int:
    """Build a package; return 2 if that fails."""
    parser = argparse.ArgumentParser(prog="python -m functions.build", description=__doc__)
    parser.add_argument("path", type=Path, help="the zip to write")
    parser.add_argument("--arch", choices=sorted(MACHINES), default="x86_64")
    parser.add_argument("--python", default=HERE, help="version of the interpreter that will run it")
    parser.add_argument("--kernels", type=Path, help="folder of compiled kernels; by default those of vsearch")
    parser.add_argument("--changes", action="store_true", help="the package of the writer and the keeper")
    arguments = parser.parse_args()
    try:
        built = build_package(
            arguments.path, arguments.arch, arguments.python, kernels=arguments.kernels, changes=arguments.changes
        )
    except VsearchError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 (a command)
        return 2
    print(f"{built.path}: {built.zipped:,} bytes, {built.unzipped:,} unzipped, sha256 {built.sha256}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
