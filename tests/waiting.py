"""Waiting for a condition, long enough for a machine that is busy."""

from __future__ import annotations

import time

import pytest


def wait_until(condition, what: str, seconds: float = 120.0) -> None:
    """Ask again and again until a condition holds; fail if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.02)
