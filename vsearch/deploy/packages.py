"""Deployment packages: one zip for all handlers, the same bytes for the same content.

A package is for one kind of processor and one version of Python: it holds extension modules and byte code. Libraries are
copied from where they are installed if those would load there, else fetched as wheels.
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
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from vsearch.deploy.contents import list_sources
from vsearch.errors import InputError, MissingDependencyError
from vsearch.kernels.toolchain.library import FOLDER, INDEX, KERNELS, TARGETS, functions_in, kernel_sources

logger = logging.getLogger("vsearch")

LARGEST_UNZIPPED = 120 * 1024 * 1024
"""Bytes; AWS takes 262,144,000, but what is small starts fast."""

LIBRARIES = ("numpy", "obstore", "msgspec", "google-crc32c", "sqlglot")
"""What handlers import besides vsearch, the last where JSON brings a condition in SQL; boto3 comes from the runtime."""

MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}

NEWEST_GLIBC = 34
"""2.34, of Amazon Linux 2023: wheels that need a newer one do not load there."""

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
"""This interpreter's version."""

_UNUSED = re.compile(
    r"^bin/|(^|/)(tests?|testing/tests|__pycache__|f2py|distutils|_pyinstaller|doc|include)/|\.(pyi|pxd|h|a|c|nbi|nbc|md|rst)$"
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
        Version of the interpreter that it is for.
    zipped, unzipped : int
        Bytes.
    sha256 : str
        Of the zip, in hex: what its version is published under.
    """

    path: Path
    arch: str
    python: str
    zipped: int
    unzipped: int
    sha256: str


def build_package(out: Path, arch: str = "x86_64", python: str = HERE, *, kernels: Path | None = None) -> Package:
    """Build the package of all handlers.

    Parameters
    ----------
    out : Path
        The zip to write.
    arch : {"x86_64", "arm64"}
    python : str
        Version of the interpreter that will run it, such as 3.13; one of another version than this must be installed,
        to compile byte code.
    kernels : Path, optional
        Folder of kernels compiled ahead of time; those that came with vsearch by default.

    Raises
    ------
    InputError
        The architecture is not known, or the package is over the limit.
    MissingDependencyError
        There are no compiled kernels for the architecture, or a library or an interpreter cannot be had.
    """
    if arch not in MACHINES:
        raise InputError(f"arch must be {' or '.join(MACHINES)}, got {arch!r}")
    if not re.fullmatch(r"3\.[0-9]{2}", python):
        raise InputError(f"python must be a version such as 3.13, got {python!r}")
    with tempfile.TemporaryDirectory(prefix="vsearch-package-") as name:
        folder = Path(name)
        _add_libraries(folder, arch, python)
        _copy_own(folder)
        _copy_kernels(folder / "vsearch" / "kernels" / "compiled", arch, kernels)
        _compile(folder, python)
        unzipped = _zip(folder, out)
    if unzipped > LARGEST_UNZIPPED:
        raise InputError(
            f"the package has {unzipped} bytes unzipped, more than the {LARGEST_UNZIPPED} that are allowed"
        )
    data = out.read_bytes()
    return Package(out, arch, python, len(data), unzipped, hashlib.sha256(data).hexdigest())


def _copy_own(folder: Path) -> None:
    root = Path(__file__).parents[2]
    kernels = [KERNELS.relative_to(root) / name for name in kernel_sources()]  # compiled ones are held against them
    for source in {*list_sources(root), *kernels}:
        _copy(root / source, folder / source)


def _copy_kernels(to: Path, arch: str, kernels: Path | None) -> None:
    """Kernels for every processor of the architecture; those that did not come with vsearch are compiled now."""
    targets = list(TARGETS[MACHINES[arch]])
    source = kernels or FOLDER
    there = [target for target in targets if (source / f"{target}.so").is_file()]
    current = bool(functions_in(source))
    if kernels is not None:
        if not there or not (source / INDEX).is_file():
            raise MissingDependencyError(
                f"{source} holds no kernels compiled for {arch}; make them with: python -m vsearch.kernels.toolchain.ahead_of_time"
            )
        if not current:
            raise MissingDependencyError(
                f"the kernels in {source} were compiled from other sources; make them again with: "
                "python -m vsearch.kernels.toolchain.ahead_of_time"
            )
        targets = there
    elif not current or there != targets:
        _compile_kernels(to, [target for target in targets if not current or target not in there])
        targets = there if current else []
    for name in (*(f"{target}.so" for target in targets), *([INDEX] if targets else [])):
        _copy(source / name, to / name)


def _compile_kernels(folder: Path, targets: list[str]) -> None:
    """Compile kernels for processors that no install compiles them for: minutes, and said so."""
    from vsearch.kernels.toolchain.ahead_of_time import build

    missing = [name for name in ("numba", "ziglang") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"there are no compiled kernels for {', '.join(targets)}, and {' and '.join(missing)}, which would compile "
            "them, cannot be imported: pip install 'vsearch[deploy]'"
        )
    logger.warning(
        "vsearch compiles kernels for %s, which takes minutes; to compile them once for all packages: "
        "python -m vsearch.kernels.toolchain.ahead_of_time",
        ", ".join(targets),
    )
    try:
        build(folder, targets, logger.info)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingDependencyError(f"the kernels for {', '.join(targets)} do not compile here: {error}") from error


def _add_libraries(folder: Path, arch: str, python: str) -> None:
    found = []
    for name in LIBRARIES:
        try:
            found.append(metadata.distribution(name))
        except metadata.PackageNotFoundError:
            raise MissingDependencyError(f"a package needs {name}: pip install {name}") from None
    if python == HERE and all(loads_on(each.read_text("WHEEL") or "", arch) for each in found):
        for each in found:
            _copy_installed(folder, each)
    else:
        _download(folder, arch, python, [f"{each.name}=={each.version}" for each in found])


def loads_on(wheel: str, arch: str) -> bool:
    """Whether what a WHEEL file describes loads on AWS's machines; the versions of Python are not looked at.

    What was compiled where it is installed, or for another system, does not.
    """
    tags = re.findall(r"^Tag: [^-\s]+-[^-\s]+-(\S+)$", wheel, re.MULTILINE)
    return bool(tags) and any(tag == "any" or tag in _platforms(arch) for tag in tags)


def _platforms(arch: str) -> list[str]:
    machine = MACHINES[arch]
    return [*(f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, 16, -1)), f"manylinux2014_{machine}"]


def _copy_installed(folder: Path, found: metadata.Distribution) -> None:
    for file in found.files or []:
        inside = file.as_posix()
        source = Path(str(file.locate()))
        if not inside.startswith("..") and _is_used(inside) and source.is_file():
            _copy(source, folder / inside)


def _download(folder: Path, arch: str, python: str, wanted: list[str]) -> None:
    """Wheels for another machine or interpreter, from the package index that pip is set to."""
    if importlib.util.find_spec("pip") is None:
        raise MissingDependencyError(f"the libraries for {arch} and Python {python} are fetched by pip: install pip")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-compile", "--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
    for platform in _platforms(arch):
        command += ["--platform", platform]
    done = subprocess.run([*command, "--target", str(folder), *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip()[-300:]
        raise MissingDependencyError(f"the libraries for {arch} and Python {python} cannot be had: {reason}")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not _is_used(path.relative_to(folder).as_posix()):
            path.unlink()


def _is_used(inside: str) -> bool:
    if ".dist-info/" in inside:
        return _ALWAYS.search(inside) is not None
    return _UNUSED.search(inside) is None


def _compile(folder: Path, python: str) -> None:
    """Byte code that holds whatever the times of files: a function's folder is read-only and its times are not ours.

    In a process of its own, since what else a process has loaded changes the bytes.
    """
    interpreter = sys.executable if python == HERE else _interpreter(python)
    command = [interpreter, "-I", "-m", "compileall", "-qq", "-s", str(folder)]
    subprocess.run([*command, "--invalidation-mode", "unchecked-hash", str(folder)], check=False)


def _interpreter(python: str) -> str:
    for name in (f"python{python}", "python3", "python"):
        found = shutil.which(name)
        if found is not None:
            asked = [found, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            done = subprocess.run(asked, capture_output=True, text=True, check=False)
            if done.stdout.strip() == python:
                return found
    raise MissingDependencyError(
        f"byte code for Python {python} takes that version: install python{python}, or run vsearch in it"
    )


def _zip(folder: Path, out: Path) -> int:
    out.parent.mkdir(parents=True, exist_ok=True)
    total = 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), MOMENT)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o755 if ".so" in path.suffixes else 0o644) << 16
            data = path.read_bytes()
            total += len(data)
            archive.writestr(info, data)
    return total


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)
