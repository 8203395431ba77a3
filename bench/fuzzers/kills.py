"""Builds, tunings and prunes in processes that are killed (SIGKILL) at a random call of their store."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import vsearch
from vsearch.api import build_and_open as facade
from vsearch.storage import Store, open_store, verify
from vsearch.storage.snapshots.condemned import is_marker

CALLS = {"build": 45, "tune": 12, "prune": 14}
"""Approximate number of store calls per operation."""


def fuzz_kills(seed: int, tries: int) -> int:
    """Kill this many processes at work on one index, checking it after each; return how many were killed in time.

    Raises
    ------
    AssertionError
        The index is in neither the old nor the new state, a later build fails, or a prune leaves files of killed processes.
    """
    draw = random.Random(seed)
    # A fork server without threads forks each process, with everything imported.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.fuzzers.kills", "vsearch.building.pipeline", "vsearch.search.tuning"])
    killed = 0
    with tempfile.TemporaryDirectory(prefix="vsearch-kills-") as folder:
        url = str(Path(folder, "index"))
        vsearch.build(_rows(200, seed), url)
        for number in range(tries):
            operation = draw.choice(tuple(CALLS))
            before = vsearch.open(url).info()
            arguments = (url, operation, draw.randrange(CALLS[operation]), draw.random() < 0.5, seed + number)
            process = context.Process(target=_work, args=arguments)
            process.start()
            process.join(120)
            assert process.exitcode in (0, -signal.SIGKILL), f"{arguments}: ended with {process.exitcode}"
            killed += process.exitcode != 0
            _check(url, before, arguments)
    return killed


def _check(url: str, before: dict[str, Any], arguments: tuple[Any, ...]) -> None:
    store = open_store(url)
    report = verify(store)
    assert report.ok, f"{arguments}: the newest snapshot is damaged: {report.problems}"
    index = vsearch.open(url)
    after = index.info()
    assert after["snapshot"] - before["snapshot"] in (0, 1), f"{arguments}: snapshot {after['snapshot']}"
    if after["snapshot"] == before["snapshot"]:
        assert after == before, f"{arguments}: the snapshot changed"
    assert (index.search(_rows(3, 0), k=3).ids >= 0).all()
    rebuilt = vsearch.build(_rows(150, 1), url, overwrite=True)
    vsearch.prune(url, keep=1, grace=0)
    left = {info.path for info in store.list("") if not is_marker(info.path)}  # markers stay for their lifetime
    files = {info.path for info in store.list("segments")} | {info.path for info in store.list("model")}
    assert left - files == {f"manifest/{rebuilt.info()['snapshot']:020d}.json"}, f"{arguments}: {sorted(left - files)}"
    assert len({Path(path).name.split("-")[0] for path in files}) == 1, f"{arguments}: files of others are left"


def _work(url: str, operation: str, last: int, done: bool, seed: int) -> None:
    """Run the operation of the process that is killed."""
    facade.open_store = lambda *_, **__: _Deadly(open_store(url), last, done)  # type: ignore[attr-defined,return-value]
    if operation == "build":
        vsearch.build(_rows(200, seed), url, overwrite=True)
    elif operation == "tune":
        vsearch.open(url).tune(0.9, k=3, sample=10)
    else:
        vsearch.prune(url, keep=1, grace=0)


class _Deadly:
    """A store whose process is killed at a given call, before or after it is done."""

    def __init__(self, store: Store, last: int, done: bool) -> None:
        self._store, self._last, self._done = store, last, done

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        if not callable(value):
            return value

        def call(*args: Any, **named: Any) -> Any:
            self._last -= 1
            if self._last == 0 and not self._done:
                os.kill(os.getpid(), signal.SIGKILL)
            result = value(*args, **named)
            if self._last == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


def _rows(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)
