"""Deployment packages: one zip for the handlers that search, one for those that change the index.

They are byte-identical for identical content.

A package is built for one architecture and one version of Python, since it contains extension modules and byte code. Libraries
are copied from the local installation if they would load on the target, otherwise downloaded as wheels.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from vsearch.deploy.contents import list_sources
from vsearch.errors import InputError, MissingDependencyError
from vsearch.kernels.toolchain.library import FOLDER, INDEX, KERNELS, TARGETS, functions_in, kernel_sources

logger = logging.getLogger("vsearch")

LARGEST_UNZIPPED = 120 * 1024 * 1024
"""Size limit in bytes; AWS allows 262,144,000, but small packages start faster."""

LIBRARIES = ("numpy", "obstore", "msgspec", "google-crc32c", "sqlglot")
"""Libraries that handlers import besides vsearch; sqlglot for SQL predicates in JSON requests. The runtime provides boto3."""

OPTIONAL_LIBRARIES = ("snowballstemmer",)
"""Libraries that handlers import for some indexes, included if they are installed: for text columns with a language, the stemmer."""

CHANGING_LIBRARIES = (*LIBRARIES, "pyarrow")
"""Libraries that the handlers import that change the index."""

LARGEST_CHANGING = 220 * 1024 * 1024
"""Size limit of the package of these handlers in bytes: Arrow alone takes 100 MB."""

MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}

NEWEST_GLIBC = 34
"""Minor version of glibc (2.34) on Amazon Linux 2023: wheels that need a newer one do not load there."""

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The version of this interpreter."""

_UNUSED = re.compile(
    r"^bin/|(^|/)(tests?|testing/tests|__pycache__|f2py|distutils|_pyinstaller|doc|include)/|\.(pyi|pxd|h|a|c|nbi|nbc|md|rst)$"
)
_UNUSED_ARROW = re.compile(
    # what `import pyarrow` does not load, and two of three copies of its libraries, which the wheel has for linkers
    r"^pyarrow/(src|interchange)/|^pyarrow/lib\w+\.so(\.\d+\.\d+\.\d+)?$"
    r"|^pyarrow/libarrow(_python)?_(flight|s3|gcs|azure|gandiva|orc|parquet_encryption)\b"
    r"|^pyarrow/_(flight|s3fs|gcsfs|azurefs|hdfs|orc|substrait|gandiva|parquet_encryption|dataset_parquet_encryption"
    r"|dataset_orc|pyarrow_cpp_tests|cuda)\b"
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
    python : str
        Version of the interpreter that the package is for.
    zipped, unzipped : int
        Sizes in bytes.
    sha256 : str
        Hex digest of the zip, under which its version is published.
    """

    path: Path
    arch: str
    python: str
    zipped: int
    unzipped: int
    sha256: str


def build_package(
    out: Path, arch: str = "x86_64", python: str = HERE, *, kernels: Path | None = None, changes: bool = False
) -> Package:
    """Build the package of the handlers that search, or of those that change the index.

    Parameters
    ----------
    out : Path
        The zip to write.
    arch : {"x86_64", "arm64"}
    python : str
        Version of the interpreter that will run it, such as 3.13; if it is not this one, it must be installed to compile
        byte code.
    kernels : Path, optional
        Folder of kernels compiled ahead of time; by default those installed with vsearch.
    changes : bool
        Build the package of the writer and the keeper, which has Arrow as well.

    Raises
    ------
    InputError
        The architecture is unknown, or the package exceeds the size limit.
    MissingDependencyError
        There are no compiled kernels for the architecture, or a library or an interpreter is not available.
    """
    if arch not in MACHINES:
        raise InputError(f"arch must be {' or '.join(MACHINES)}, got {arch!r}")
    if not re.fullmatch(r"3\.[0-9]{2}", python):
        raise InputError(f"python must be a version such as 3.13, got {python!r}")
    with tempfile.TemporaryDirectory(prefix="vsearch-package-") as name:
        folder = Path(name)
        libraries = CHANGING_LIBRARIES if changes else LIBRARIES
        optional = [name for name in OPTIONAL_LIBRARIES if importlib.util.find_spec(name) is not None]
        _add_libraries(folder, arch, python, [*libraries, *optional])
        _copy_own(folder, changes=changes)
        _copy_kernels(folder / "vsearch" / "kernels" / "compiled", arch, kernels)
        _compile(folder, python)
        unzipped = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        limit = LARGEST_CHANGING if changes else LARGEST_UNZIPPED
        if unzipped > limit:
            raise InputError(f"the package has {unzipped} bytes unzipped, more than the limit of {limit}")
        _zip(folder, out)
    data = out.read_bytes()
    return Package(out, arch, python, len(data), unzipped, hashlib.sha256(data).hexdigest())


def _copy_own(folder: Path, *, changes: bool) -> None:
    root = Path(__file__).parents[2]
    kernels = [
        Path(KERNELS).relative_to(root) / name for name in kernel_sources()
    ]  # compiled kernels are checked against these
    for source in {*list_sources(root, changes=changes), *kernels}:
        _copy(root / source, folder / source)


def _copy_kernels(to: Path, arch: str, kernels: Path | None) -> None:
    """Copy kernels for every target of the architecture; those not installed with vsearch are compiled now."""
    targets = list(TARGETS[MACHINES[arch]])
    source = kernels or Path(FOLDER)
    present = [target for target in targets if (source / f"{target}.so").is_file()]
    current = bool(functions_in(source))
    if kernels is not None:
        if not present or not (source / INDEX).is_file():
            raise MissingDependencyError(
                f"{source} has no kernels compiled for {arch}; build them with: python -m vsearch.kernels.toolchain.ahead_of_time"
            )
        if not current:
            raise MissingDependencyError(
                f"the kernels in {source} were compiled from other sources; rebuild them with: "
                "python -m vsearch.kernels.toolchain.ahead_of_time"
            )
        targets = present
    elif not current or present != targets:
        _compile_kernels(to, [target for target in targets if not current or target not in present])
        targets = present if current else []
    for name in (*(f"{target}.so" for target in targets), *([INDEX] if targets else [])):
        _copy(source / name, to / name)


def _compile_kernels(folder: Path, targets: list[str]) -> None:
    """Compile kernels for targets that are not compiled on installation; takes minutes, and logs a warning."""
    from vsearch.kernels.toolchain.ahead_of_time import build

    missing = [name for name in ("numba", "ziglang") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"there are no compiled kernels for {', '.join(targets)}, and {' and '.join(missing)}, which are needed to "
            "compile them, cannot be imported: pip install 'vsearch[deploy]'"
        )
    logger.warning(
        "compiling kernels for %s, which takes minutes; to compile them once for all packages: "
        "python -m vsearch.kernels.toolchain.ahead_of_time",
        ", ".join(targets),
    )
    try:
        build(folder, targets, logger.info)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingDependencyError(f"compiling the kernels for {', '.join(targets)} failed: {error}") from error


def _add_libraries(folder: Path, arch: str, python: str, libraries: Sequence[str]) -> None:
    distributions = []
    for name in libraries:
        try:
            distributions.append(metadata.distribution(name))
        except metadata.PackageNotFoundError:
            raise MissingDependencyError(f"a package requires {name}: pip install {name}") from None
    if python == HERE and all(loads_on(distribution.read_text("WHEEL") or "", arch) for distribution in distributions):
        for distribution in distributions:
            _copy_installed(folder, distribution)
    else:
        _download(
            folder, arch, python, [f"{distribution.name}=={distribution.version}" for distribution in distributions]
        )


def loads_on(wheel: str, arch: str) -> bool:
    """Whether the distribution that a WHEEL file describes loads on AWS's machines; Python versions are not checked.

    Distributions compiled locally, or for another system, do not.
    """
    tags = re.findall(r"^Tag: [^-\s]+-[^-\s]+-(\S+)$", wheel, re.MULTILINE)
    return bool(tags) and any(tag == "any" or tag in _platforms(arch) for tag in tags)


def _platforms(arch: str) -> list[str]:
    machine = MACHINES[arch]
    return [*(f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, 16, -1)), f"manylinux2014_{machine}"]


def _copy_installed(folder: Path, distribution: metadata.Distribution) -> None:
    for file in distribution.files or []:
        relative = file.as_posix()
        source = Path(str(file.locate()))
        if not relative.startswith("..") and _is_used(relative) and source.is_file():
            _copy(source, folder / relative)


def _download(folder: Path, arch: str, python: str, requirements: list[str]) -> None:
    """Download wheels for another machine or interpreter from the package index that pip is configured for."""
    if importlib.util.find_spec("pip") is None:
        raise MissingDependencyError(f"pip is needed to download libraries for {arch} and Python {python}: install pip")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-compile", "--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
    for platform in _platforms(arch):
        command += ["--platform", platform]
    done = subprocess.run(
        [*command, "--target", str(folder), *requirements], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = done.stderr.strip()[-300:]
        raise MissingDependencyError(f"downloading libraries for {arch} and Python {python} failed: {reason}")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not _is_used(path.relative_to(folder).as_posix()):
            path.unlink()


def _is_used(path: str) -> bool:
    if ".dist-info/" in path:
        return _ALWAYS.search(path) is not None
    return _UNUSED.search(path) is None and _UNUSED_ARROW.search(path) is None


def _compile(folder: Path, python: str) -> None:
    """Compile byte code that does not depend on file times, since a function's folder is read-only and its file times change.

    Runs in a separate process, since the modules that a process has loaded affect the bytes.
    """
    interpreter = sys.executable if python == HERE else _interpreter(python)
    command = [interpreter, "-I", "-m", "compileall", "-qq", "-s", str(folder)]
    subprocess.run([*command, "--invalidation-mode", "unchecked-hash", str(folder)], check=False)


def _interpreter(python: str) -> str:
    for name in (f"python{python}", "python3", "python"):
        executable = shutil.which(name)
        if executable is not None:
            command = [executable, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.stdout.strip() == python:
                return executable
    raise MissingDependencyError(
        f"byte code for Python {python} requires that version: install python{python}, or run vsearch with it"
    )


def _zip(folder: Path, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), MOMENT)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o755 if ".so" in path.suffixes else 0o644) << 16
            archive.writestr(info, path.read_bytes())


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)
