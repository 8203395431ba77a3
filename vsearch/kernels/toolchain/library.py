"""Kernels compiled ahead of time, called through ctypes.

A library is a shared object for one target processor, next to an ``index.json`` that lists its functions and their
arguments. Functions follow Numba's calling convention: a pointer to the result, a pointer to the error, then the
arguments, an array as its seven or nine fields.

This module is part of every start, so it uses no pathlib, whose import takes milliseconds.
"""

# ruff: noqa: PTH110, PTH120, PTH123, PTH208

from __future__ import annotations

import ctypes
import json
import os
import platform
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from os import PathLike

KERNELS = os.path.dirname(os.path.dirname(__file__))
FOLDER = f"{KERNELS}/compiled"
INDEX = "index.json"

#: Required processor features of each target, as named in Linux's /proc/cpuinfo; the best target first.
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
    """Return the sources that a library is built from, relative to `KERNELS`, sorted."""
    # modules that cache, load and package kernels do not affect their code
    tools = ("toolchain/caching.py", "toolchain/library.py", "toolchain/packaging.py")
    with os.scandir(KERNELS) as entries:
        folders = [entry.name for entry in entries if entry.is_dir()]
    names = (f"{folder}/{name}" for folder in folders for name in os.listdir(f"{KERNELS}/{folder}"))
    return sorted(name for name in names if name.endswith(".py") and name not in tools)


@cache
def sources_digest() -> str:
    """Return a digest of the sources of all kernels; a library is used only with the sources it was built from.

    Two checksums and a length distinguish versions; importing hashlib would add three milliseconds to every start.
    """
    crc, adler, length = 0, 1, 0
    for name in kernel_sources():
        with open(f"{KERNELS}/{name}", "rb", buffering=0) as file:
            source = name.encode() + b"\0" + file.read() + b"\0"
        crc, adler, length = zlib.crc32(source, crc), zlib.adler32(source, adler), length + len(source)
    return f"{crc:08x}{adler:08x}{length:08x}"


def processor_features(path: str | PathLike[str] = "/proc/cpuinfo") -> frozenset[str]:
    """Return the features of this processor as reported by Linux; empty on other systems."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def targets_here(features: frozenset[str] | None = None) -> list[str]:
    """Return the targets that run on this processor, or on one with the given features, best first; none outside Linux."""
    if platform.system() != "Linux":
        return []
    features = processor_features() if features is None else features
    listed = TARGETS.get(platform.machine(), {})
    return [target for target, needed in listed.items() if features.issuperset(needed)]


def find_library(folder: str | PathLike[str] | None = None) -> Library | None:
    """Load the best library for this processor from a folder; None if there is none, or if the sources have changed.

    The default folder is the environment variable ``VSEARCH_KERNELS``, or the package's folder.
    """
    folder = folder or _folder()
    functions = functions_in(folder)
    for target in targets_here() if functions else ():
        path = _file_of(target, folder)
        if os.path.exists(path):
            try:
                return Library(target, path, functions)
            except OSError:  # an incompatible C library, or a file system without execute permission
                continue
    return None


def why_compiled(folder: str | PathLike[str] | None = None, features: frozenset[str] | None = None) -> str:
    """Return the reason why `find_library` found no library, for messages."""
    folder = folder or _folder()
    for name in ("VSEARCH_JIT", "VSEARCH_DIALECT"):
        if os.environ.get(name):
            return f"{name} is set"
    if platform.system() != "Linux" or platform.machine() not in TARGETS:
        return f"there are no compiled kernels for {platform.system()} on {platform.machine()}"
    present = {
        target: needed
        for target, needed in TARGETS[platform.machine()].items()
        if os.path.exists(_file_of(target, folder))
    }
    if not present or not os.path.exists(f"{os.fspath(folder)}/{INDEX}"):
        missing = _missing(list(TARGETS[platform.machine()].values())[-1], features)
        return f"this processor lacks {missing}" if missing else f"{folder} has no compiled kernels for this processor"
    if not functions_in(folder):
        return f"the compiled kernels in {folder} are from another version"
    missing = _missing(list(present.values())[-1], features)  # of the least demanding target
    if missing:
        return f"this processor lacks {missing}, which the compiled kernels need"
    return f"the compiled kernels in {folder} cannot be loaded"


def _missing(needed: tuple[str, ...], features: frozenset[str] | None) -> str:
    available = processor_features() if features is None else features
    return ", ".join(feature for feature in needed if feature not in available)


def _folder() -> str:
    return os.environ.get("VSEARCH_KERNELS") or FOLDER


def _file_of(target: str, folder: str | PathLike[str]) -> str:
    return f"{os.fspath(folder)}/{target}.so"


def functions_in(folder: str | PathLike[str]) -> dict[str, dict[str, Any]]:
    """Return the functions of the libraries in a folder; none if they were built from other sources."""
    try:
        with open(f"{os.fspath(folder)}/{INDEX}", "rb") as file:
            index = json.load(file)
        return index["functions"] if index["sources"] == sources_digest() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


class Library:
    """One loaded library.

    Attributes
    ----------
    target : str
    """

    def __init__(self, target: str, path: str, functions: dict[str, dict[str, Any]]) -> None:
        self.target = target
        self._library = ctypes.CDLL(path)
        self._functions = functions

    def __contains__(self, name: str) -> bool:
        return name in self._functions

    def function(self, name: str) -> Function:
        """Return a function by ``folder.module.name``; one that the library lacks raises when it is called."""
        description = self._functions.get(name)
        if description is None:
            return Function(name, None, [], "none")
        native = getattr(self._library, description["symbol"])
        return Function(name, native, description["arguments"], description["result"])


class Function:
    """A kernel of a library; takes the same arguments as the kernel compiled just in time."""

    def __init__(self, name: str, native: Any, arguments: list[str], result: str) -> None:
        self.__name__ = name
        self._native = native
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
        self._returns_none = result == "none"
        # kernels write only zeros to these, so all threads may share them
        self._outputs = (ctypes.byref(ctypes.c_void_p()), ctypes.byref(ctypes.c_void_p()))
        self._scalars_only = (
            self._returns_none and native is not None and all(argument is None for argument in self._takes)
        )
        if native is not None:
            native.argtypes, native.restype = types, ctypes.c_int32

    def __call__(self, *arguments: Any) -> Any:
        if self._scalars_only and len(arguments) == len(self._takes) and self._native(*self._outputs, *arguments) == 0:
            return None
        if self._native is None:
            msg = f"the kernel {self.__name__} is not in the compiled library; set VSEARCH_JIT=1 to compile it"
            raise NotImplementedError(msg)
        if len(arguments) != len(self._takes):
            msg = f"{self.__name__} takes {len(self._takes)} arguments, got {len(arguments)}"
            raise TypeError(msg)
        flat: list[Any] = []
        for position, (value, expected) in enumerate(zip(arguments, self._takes, strict=True)):
            if expected is None:
                flat.append(value)
                continue
            dtype, dimensions = expected
            if value.dtype != dtype or value.ndim != dimensions or not value.flags.c_contiguous:
                msg = (
                    f"{self.__name__}: argument {position} must be a C-contiguous {dtype} array with {dimensions} axes"
                )
                raise TypeError(msg)
            flat += [None, None, value.size, value.itemsize, value.__array_interface__["data"][0]]
            flat += [*value.shape, *value.strides]
        result, error = self._result(), ctypes.c_void_p()
        status = self._native(ctypes.byref(result), ctypes.byref(error), *flat)
        if status != 0:
            msg = f"the kernel {self.__name__} failed with status {status}"
            raise RuntimeError(msg)
        return None if self._returns_none else result.value
