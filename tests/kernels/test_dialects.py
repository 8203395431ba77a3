"""SIMD kernels match their references for every instruction set of this machine, and for the portable implementation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from vsearch.kernels.toolchain.simd import NEEDS, choose

FEATURES = dict(llvm.get_host_cpu_features())
THERE = [name for name, needed in NEEDS.items() if all(FEATURES.get(feature, False) for feature in needed)]


def test_the_best_one_is_chosen():
    best = choose(FEATURES)
    assert (best.name if best else None) == (THERE[0] if THERE else None)
    assert choose({}) is None


@pytest.mark.parametrize("dialect", [*THERE[1:], "portable"])
def test_twins_hold(dialect):
    """In a process of its own, since the dialect is chosen once; this one runs the best."""
    names = ("scan", "centroids", "products", "rotation", "hadamard", "rerank", "encoder_layers")
    files = [Path(__file__).with_name(f"test_{name}.py") for name in names]
    command = [sys.executable, "-m", "pytest", *files, "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "VSEARCH_DIALECT": dialect}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, check=False, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
