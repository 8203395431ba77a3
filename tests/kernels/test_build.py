"""The command that compiles kernels: what it is asked for is what is built, all targets into the package by default."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vsearch.kernels.toolchain import ahead_of_time as build
from vsearch.kernels.toolchain.library import FOLDER


@pytest.mark.parametrize(
    ("arguments", "folder", "targets"),
    [
        ([], Path(FOLDER), sorted(build.TARGETS)),
        (["--out", "there"], Path("there"), sorted(build.TARGETS)),
        (["--target", "x86-64-v3", "--target", "aarch64-dotprod"], Path(FOLDER), ["x86-64-v3", "aarch64-dotprod"]),
    ],
)
def test_command_line(monkeypatch, arguments, folder, targets):
    asked = []
    monkeypatch.setattr(build, "build", lambda *given: asked.append(given))
    monkeypatch.setattr(sys, "argv", ["build", *arguments])
    build.main()
    assert asked == [(folder, targets)]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_every_kernel_is_in_one_part(parts):
    dealt = [build.deal(part, parts) for part in range(parts)]
    assert all(dealt)
    assert sorted(name for part in dealt for name in part) == sorted(build.EXPORTS)
