"""Unpacking of a function's package, and the runtime that AWS adds to it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import stat
import zipfile
from pathlib import Path

from vsearch.errors import InputError, MissingDependencyError

RUNTIME = (
    "awslambdaric",
    "runtime_client",
    "snapshot_restore_py",
    "simplejson",
    "boto3",
    "botocore",
    "s3transfer",
    "jmespath",
    "dateutil",
    "six",
    "urllib3",
)
"""Modules provided by AWS's Python runtime: the runtime client, and boto3 with its dependencies."""

LARGEST_UNZIPPED = 262_144_000


def unpack(package: str, into: Path) -> Path:
    """Return the folder of a package: the folder itself, or the content of a zip, unpacked once per content and read-only.

    Raises
    ------
    InputError
        There is no such package, or it exceeds AWS's limit when unzipped.
    """
    source = Path(package)
    if source.is_dir():
        return source.resolve()
    if not source.is_file() or not zipfile.is_zipfile(source):
        raise InputError(f"{package}: is neither a folder nor a zip file")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:32]
    folder = into / digest
    if folder.exists():
        return folder
    partial = into / f"{digest}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source) as archive:
        size = sum(info.file_size for info in archive.infolist())
        if size > LARGEST_UNZIPPED:
            raise InputError(f"{package}: must be at most {LARGEST_UNZIPPED} bytes unzipped, as on AWS, got {size}")
        for info in archive.infolist():
            path = Path(archive.extract(info, partial))
            moment = info.date_time
            if path.is_file():
                # cached compiled code is valid only with the file time it was compiled for
                _stamp(path, moment)
                path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IXUSR)
    partial.rename(folder)
    return folder


def runtime_folder(at: Path) -> Path:
    """Create a folder with only the modules of the runtime, linked from their installation.

    Raises
    ------
    MissingDependencyError
        awslambdaric or boto3 is not installed.
    """
    at.mkdir(parents=True, exist_ok=True)
    for name in RUNTIME:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise MissingDependencyError(f"the local FaaS requires {name}: pip install 'vsearch[faas]'")
        origin = Path(spec.origin)
        target = origin.parent if origin.name == "__init__.py" else origin
        link = at / target.name
        if not link.is_symlink():
            link.symlink_to(target)
    return at


def _stamp(path: Path, moment: tuple[int, int, int, int, int, int]) -> None:
    from datetime import UTC, datetime

    seconds = datetime(*moment, tzinfo=UTC).timestamp()
    os.utime(path, (seconds, seconds))
