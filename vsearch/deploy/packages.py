"""Deployment packages: one zip for all handlers, the same bytes for the same content."""

from __future__ import annotations

import compileall
import hashlib
import platform
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from vsearch.errors import InputError, MissingDependencyError
from vsearch.kernels.library import INDEX, TARGETS

LARGEST_UNZIPPED = 120 * 1024 * 1024
"""Bytes; AWS takes 262,144,000, but what is small starts fast."""

LIBRARIES = ("numpy", "obstore", "msgspec", "google-crc32c")
"""What a worker imports besides vsearch; boto3 comes from the runtime."""

PARTS = ("kernels", "storage", "predicates", "quantizers", "search", "fanout")
MODULES = ("__init__.py", "errors.py")

WHEELS = {"x86_64": "manylinux2014_x86_64", "arm64": "manylinux2014_aarch64"}
MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}

_UNUSED = re.compile(
    r"(^|/)(tests?|testing/tests|__pycache__|f2py|distutils|_pyinstaller|doc|include)/|\.(pyi|pxd|h|a|c|nbi|nbc|md|rst)$"
)
_ALWAYS = re.compile(r"\.dist-info/(METADATA|licenses?/.*|LICENSE.*)$", re.IGNORECASE)

MOMENT = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Package:
    """A built package.

    Attributes
    ----------
    path : Path
    arch : {"x86_64", "arm64"}
    zipped, unzipped : int
        Bytes.
    sha256 : str
        Of the zip, in hex: what its version is published under.
    """

    path: Path
    arch: str
    zipped: int
    unzipped: int
    sha256: str


def build_package(out: Path, arch: str = "x86_64", *, kernels: Path | None = None) -> Package:
    """Build the package of all handlers.

    Parameters
    ----------
    out : Path
        The zip to write.
    arch : {"x86_64", "arm64"}
    kernels : Path, optional
        Folder of kernels compiled ahead of time; those that came with vsearch by default.

    Raises
    ------
    InputError
        The architecture is not known, or the package is over the limit.
    MissingDependencyError
        There are no compiled kernels for the architecture, or a library cannot be had.
    """
    if arch not in WHEELS:
        raise InputError(f"arch={arch!r} is not usable: give {' or '.join(WHEELS)}")
    with tempfile.TemporaryDirectory(prefix="vsearch-package-") as name:
        folder = Path(name)
        _copy_own(folder)
        _copy_kernels(folder / "vsearch" / "kernels" / "compiled", arch, kernels)
        if MACHINES[arch] == platform.machine():
            _copy_installed(folder, LIBRARIES)
        else:
            _download(folder, arch)
        _compile(folder)
        unzipped = _zip(folder, out)
    if unzipped > LARGEST_UNZIPPED:
        raise InputError(
            f"the package has {unzipped} bytes unzipped, more than the {LARGEST_UNZIPPED} that are allowed"
        )
    data = out.read_bytes()
    return Package(out, arch, len(data), unzipped, hashlib.sha256(data).hexdigest())


def _copy_own(folder: Path) -> None:
    root = Path(__file__).parents[1]
    for name in MODULES:
        _copy(root / name, folder / "vsearch" / name)
    for part in PARTS:
        for source in sorted((root / part).rglob("*.py")):
            _copy(source, folder / "vsearch" / source.relative_to(root))
    handlers = root.parent / "functions"
    for source in sorted(handlers.glob("*.py")):
        _copy(source, folder / "functions" / source.name)


def _copy_kernels(to: Path, arch: str, kernels: Path | None) -> None:
    source = kernels or Path(__file__).parents[1] / "kernels" / "compiled"
    libraries = [source / f"{target}.so" for target in TARGETS[MACHINES[arch]]]
    there = [path for path in libraries if path.is_file()]
    if not there or not (source / INDEX).is_file():
        raise MissingDependencyError(
            f"{source} holds no kernels compiled for {arch}; make them with: python -m vsearch.kernels.build"
        )
    for path in (*there, source / INDEX):
        _copy(path, to / path.name)


def _copy_installed(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:
            raise MissingDependencyError(f"a package needs {name}: pip install {name}") from None
        for file in files:
            inside = file.as_posix()
            if inside.startswith("..") or not _is_used(inside):
                continue
            source = Path(str(file.locate()))
            if source.is_file():
                _copy(source, folder / inside)


def _download(folder: Path, arch: str) -> None:
    """Wheels for another processor, from the package index that pip is set to."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(folder)]
    command += [
        "--platform",
        WHEELS[arch],
        "--platform",
        WHEELS[arch].replace("2014", "_2_28"),
        "--only-binary",
        ":all:",
    ]
    wanted = [f"{name}=={metadata.version(name)}" for name in LIBRARIES]
    done = subprocess.run(
        [*command, "--python-version", version, "--implementation", "cp", *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MissingDependencyError(f"the libraries for {arch} cannot be had: {done.stderr.strip()[-300:]}")
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).as_posix()
        if path.is_file() and not inside.startswith(("vsearch/", "functions/")) and not _is_used(inside):
            path.unlink()


def _is_used(inside: str) -> bool:
    if ".dist-info/" in inside:
        return _ALWAYS.search(inside) is not None
    return _UNUSED.search(inside) is None


def _compile(folder: Path) -> None:
    """Byte code that holds whatever the times of files: a function's folder is read-only and its times are not ours."""
    compileall.compile_dir(
        folder, quiet=2, stripdir=str(folder), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )


def _zip(folder: Path, out: Path) -> int:
    out.parent.mkdir(parents=True, exist_ok=True)
    total = 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), MOMENT)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o755 if path.suffix == ".so" else 0o644) << 16
            data = path.read_bytes()
            total += len(data)
            archive.writestr(info, data)
    return total


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)
