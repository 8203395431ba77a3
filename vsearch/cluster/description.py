"""Descriptions of jobs: how a job is divided into tasks, in TOML files beside the recipes."""

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
        Headers of files read by one task.
    chunk_bytes : int
        About how many bytes of vectors a chunk of rows has.
    bucket_rows : int
        About how many ids one task compares with each other.
    retries : int
        How often a failed task is repeated.
    """

    files_per_task: int
    chunk_bytes: int
    bucket_rows: int
    retries: int


@cache
def build_division() -> Division:
    """The division of a build, from ``build.toml`` inside an installed package, or next to it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "jobs"
    folder = installed if installed.is_dir() else package.parent / "index" / "jobs"
    document = tomllib.loads((folder / "build.toml").read_text(encoding="utf-8"))
    return msgspec.convert(document["build"], Division)
