"""Descriptions of jobs: how they are divided into tasks, in TOML files next to the recipes."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import msgspec


class Division(msgspec.Struct, frozen=True):
    """How a build is divided into tasks.

    Attributes
    ----------
    files_per_task : int
        Number of files whose headers one task reads.
    chunk_bytes : int
        Approximate size of the vectors of a chunk of rows, in bytes.
    bucket_rows : int
        Approximate number of ids that one task compares.
    texts_per_task : int
        Number of rows whose texts one task encodes.
    documents_per_task : int
        Number of multi-vector documents that one task reads.
    retries : int
        Number of retries of a failed task.
    """

    files_per_task: int
    chunk_bytes: int
    bucket_rows: int
    texts_per_task: int
    documents_per_task: int
    retries: int


@cache
def build_division() -> Division:
    """Read the division of a build from ``build.toml``, in the installed package or, in a checkout, next to it."""
    package = Path(__file__).parents[1]
    installed = package / "jobs"
    folder = installed if installed.is_dir() else package.parent / "index" / "jobs"
    document = tomllib.loads((folder / "build.toml").read_text(encoding="utf-8"))
    return msgspec.convert(document["build"], Division)
