"""Unpacking a function's package, and the runtime that AWS would put beside it."""

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
"""Modules that the Python runtime of AWS brings: the runtime client and boto3 with what it needs."""

LARGEST_UNZIPPED = 262_144_000


def unpack(package: str, into: Path) -> Path:
    """The folder of a package: itself, or a zip's content, unpacked once per content and made read-only.

    Raises
    ------
    InputError
        There is no such package, or it is larger unzipped than AWS takes.
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
            raise InputError(f"{package}: has {size} bytes unzipped, AWS takes {LARGEST_UNZIPPED}")
        for info in archive.infolist():
            path = Path(archive.extract(info, partial))
            moment = info.date_time
            if path.is_file():
                # what was compiled when the package was made counts only with the time it was made for
                _stamp(path, moment)
                path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IXUSR)
    partial.rename(folder)
    return folder


def runtime_folder(at: Path) -> Path:
    """A folder with nothing but the runtime's modules, linked from where they are installed.

    Raises
    ------
    MissingDependencyError
        awslambdaric or boto3 is not installed.
    """
    at.mkdir(parents=True, exist_ok=True)
    for name in RUNTIME:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            raise MissingDependencyError(f"the local FaaS needs {name}: pip install 'vsearch[faas]'")
        origin = Path(found.origin)
        target = origin.parent if origin.name == "__init__.py" else origin
        link = at / target.name
        if not link.is_symlink():
            link.symlink_to(target)
    return at


def _stamp(path: Path, moment: tuple[int, int, int, int, int, int]) -> None:
    from datetime import UTC, datetime

    seconds = datetime(*moment, tzinfo=UTC).timestamp()
    os.utime(path, (seconds, seconds))
