"""Kernels that were compiled ahead of time, called through ctypes.

A library is a shared object for one kind of processor beside an ``index.json`` that names its functions and their
arguments. Its functions follow Numba's calling convention: a place for the result, a place for an error, then the
arguments, an array as its seven or nine fields.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

KERNELS = Path(__file__).parents[1]
FOLDER = KERNELS / "compiled"
INDEX = "index.json"

#: What a processor must have for a target, as Linux names it in /proc/cpuinfo; the best target first.
TARGETS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "x86-64-avx512": (
            "avx512f",
            "avx512bw",
            "avx512vl",
            "avx512dq",
            "avx512cd",
            "avx512_vnni",
            "f16c",
            "fma",
            "bmi2",
        ),
        "x86-64-v3": ("avx2", "f16c", "fma", "bmi1", "bmi2", "movbe"),
    },
    "aarch64": {"aarch64-dotprod": ("asimd", "asimddp", "asimdhp")},
}

_SCALARS: dict[str, Any] = {
    "int64": ctypes.c_int64,
    "float32": ctypes.c_float,
    "boolean": ctypes.c_uint8,
    "none": ctypes.c_void_p,
}


def kernel_sources() -> list[str]:
    """The sources that a library is built from, below `KERNELS`, sorted."""
    tools = ("toolchain/caching.py", "toolchain/library.py", "toolchain/packaging.py")  # keep, read and ship the others
    names = (path.relative_to(KERNELS).as_posix() for path in KERNELS.glob("*/*.py"))
    return sorted(name for name in names if name not in tools)


@cache
def sources_digest() -> str:
    """A digest of the sources of all kernels: a library serves only the sources it was built from.

    Two checksums and a length tell versions apart; hashlib would take three milliseconds of every start.
    """
    crc, adler, length = 0, 1, 0
    for name in kernel_sources():
        piece = name.encode() + b"\0" + (KERNELS / name).read_bytes() + b"\0"
        crc, adler, length = zlib.crc32(piece, crc), zlib.adler32(piece, adler), length + len(piece)
    return f"{crc:08x}{adler:08x}{length:08x}"


def processor_features(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Features of this processor as Linux tells them; empty elsewhere."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def targets_here(features: frozenset[str] | None = None) -> list[str]:
    """Targets that this processor runs, or one with some other features, the best first; none where this is not Linux."""
    if platform.system() != "Linux":
        return []
    features = processor_features() if features is None else features
    listed = TARGETS.get(platform.machine(), {})
    return [target for target, needed in listed.items() if features.issuperset(needed)]


def find_library(folder: Path | None = None) -> Library | None:
    """The best library for this processor in a folder; None without one, or if the sources have changed since.

    The folder is that of the environment variable ``VSEARCH_KERNELS``, or the package's own.
    """
    folder = folder or _folder()
    functions = functions_in(folder)
    for target in targets_here() if functions else ():
        path = folder / f"{target}.so"
        if path.exists():
            try:
                return Library(target, path, functions)
            except OSError:  # a system with another C library, or that loads nothing from this place
                continue
    return None


def why_compiled(folder: Path | None = None, features: frozenset[str] | None = None) -> str:
    """Why `find_library` finds none, in a few words."""
    folder = folder or _folder()
    for name in ("VSEARCH_JIT", "VSEARCH_DIALECT"):
        if os.environ.get(name):
            return f"{name} is set"
    if platform.system() != "Linux" or platform.machine() not in TARGETS:
        return f"there are no compiled kernels for {platform.system()} on {platform.machine()}"
    there = {
        target: needed for target, needed in TARGETS[platform.machine()].items() if (folder / f"{target}.so").exists()
    }
    if not there or not (folder / INDEX).exists():
        missing = _missing(list(TARGETS[platform.machine()].values())[-1], features)
        return (
            f"this processor lacks {missing}" if missing else f"{folder} holds no compiled kernels for this processor"
        )
    if not functions_in(folder):
        return f"the compiled kernels in {folder} are of another version"
    missing = _missing(list(there.values())[-1], features)  # the least demanding
    if missing:
        return f"this processor lacks {missing}, which the compiled kernels need"
    return f"the compiled kernels in {folder} cannot be loaded"


def _missing(needed: tuple[str, ...], features: frozenset[str] | None) -> str:
    had = processor_features() if features is None else features
    return ", ".join(feature for feature in needed if feature not in had)


def _folder() -> Path:
    return Path(os.environ.get("VSEARCH_KERNELS") or FOLDER)


def functions_in(folder: Path) -> dict[str, dict[str, Any]]:
    """What the libraries of a folder hold; nothing where they are of other sources."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
        return index["functions"] if index["sources"] == sources_digest() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


class Library:
    """One loaded library.

    Attributes
    ----------
    target : str
    """

    def __init__(self, target: str, path: Path, functions: dict[str, dict[str, Any]]) -> None:
        self.target = target
        self._library = ctypes.CDLL(str(path))
        self._functions = functions

    def function(self, name: str) -> Function:
        """A function by ``folder.module.name``; one that the library lacks says so when it is called."""
        described = self._functions.get(name)
        if described is None:
            return Function(name, None, [], "none")
        found = getattr(self._library, described["symbol"])
        return Function(name, found, described["arguments"], described["result"])


class Function:
    """A kernel of a library; takes the same arguments as the compiled one."""

    def __init__(self, name: str, found: Any, arguments: list[str], result: str) -> None:
        self.__name__ = name
        self._found = found
        self._takes: list[tuple[np.dtype[Any], int] | None] = []
        types: list[Any] = [ctypes.c_void_p, ctypes.c_void_p]
        for argument in arguments:
            kind, _, axes = argument.partition("/")
            if axes:
                dimensions = int(axes)
                self._takes.append((np.dtype(kind), dimensions))
                types += [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
                types += [ctypes.c_int64] * (2 * dimensions)
            else:
                self._takes.append(None)
                types.append(_SCALARS[kind])
        self._result: Any = _SCALARS[result]
        self._nothing = result == "none"
        # kernels write nothing but zeros to these, so all threads may share them
        self._spare = (ctypes.byref(ctypes.c_void_p()), ctypes.byref(ctypes.c_void_p()))
        self._plain = self._nothing and found is not None and all(taken is None for taken in self._takes)
        if found is not None:
            found.argtypes, found.restype = types, ctypes.c_int32

    def __call__(self, *given: Any) -> Any:
        if self._plain and len(given) == len(self._takes) and self._found(*self._spare, *given) == 0:
            return None
        if self._found is None:
            msg = f"the kernel {self.__name__} is not in the compiled library; set VSEARCH_JIT=1 to compile it"
            raise NotImplementedError(msg)
        if len(given) != len(self._takes):
            msg = f"{self.__name__} takes {len(self._takes)} arguments, got {len(given)}"
            raise TypeError(msg)
        flat: list[Any] = []
        for position, (value, expected) in enumerate(zip(given, self._takes, strict=True)):
            if expected is None:
                flat.append(value)
                continue
            dtype, dimensions = expected
            if value.dtype != dtype or value.ndim != dimensions or not value.flags.c_contiguous:
                msg = f"{self.__name__}: argument {position} must be C-contiguous {dtype} of {dimensions} axes"
                raise TypeError(msg)
            flat += [None, None, value.size, value.itemsize, value.__array_interface__["data"][0]]
            flat += [*value.shape, *value.strides]
        result, error = self._result(), ctypes.c_void_p()
        status = self._found(ctypes.byref(result), ctypes.byref(error), *flat)
        if status != 0:
            msg = f"the kernel {self.__name__} failed with status {status}"
            raise RuntimeError(msg)
        return None if self._nothing else result.value
