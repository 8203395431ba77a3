"""Runs of jobs in this process, and their deaths at any write."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.live.troubles import Killed
from vsearch.cluster import context
from vsearch.cluster.engines import SerialEngine
from vsearch.cluster.running import build_job


class Mortal:
    """A store whose process dies before, or after, the first write to a path that contains some text."""

    def __init__(self, store, text, *, after):
        self._store, self._text, self._after, self.dead = store, text, after, False

    def __getattr__(self, name):
        value = getattr(self._store, name)
        if name not in {"put", "put_file", "delete"}:
            return value

        def call(paths, *args, **named):
            chosen = self._text in (paths if name != "delete" else f"delete {paths}")
            self.dead = self.dead or (chosen and not self._after)
            if self.dead:
                raise Killed
            value(paths, *args, **named)
            self.dead = chosen
            if chosen:
                raise Killed

        return call


class Twice(SerialEngine):
    """Runs every task twice at the same time, as a scheduler may that takes a slow worker for dead."""

    def run(self, task, stage, numbers):
        for number in numbers:
            context._contexts.cache_clear()
            with ThreadPoolExecutor(2) as pool:
                first, second = pool.map(task, [number, number])
            yield first or second


def run(store, job, engine=None, *, overwrite=False, progress=lambda *_: None, encoder=None):
    """Run a job in this process."""
    return build_job(
        store,
        job,
        engine or SerialEngine(),
        storage={},
        source_storage={},
        overwrite=overwrite,
        progress=progress,
        encoder=encoder,
    )


def deaths_in(stages, first):
    """Before anything of a stage is written, and when its first task is recorded; `first` names files that are not named by the stage."""
    return [
        death
        for stage in stages
        for death in ((first.get(stage, f"-{stage}-"), False), (f"-{stage}-{0:06d}.json", True))
    ]


def die_in_turn(store, deaths, attempt):
    """Call `attempt` with a store that dies at each of some writes in turn; returns the deaths that happened. No result may be lost."""
    died = []
    for text, after in deaths:
        mortal = Mortal(store, text, after=after)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(context, "open_store", lambda *_, mortal=mortal, **__: mortal)
            context._contexts.cache_clear()
            before = {info.path for info in store.list("jobs") if info.path.endswith(".json")}
            try:
                attempt(mortal)
            except Killed:
                died.append((text, after))
        if mortal.dead and "delete" not in text:
            assert before <= {info.path for info in store.list("jobs")}, "a result was lost"
    context._contexts.cache_clear()
    return died


def die_at(store, job, deaths, **options):
    """Run a job, die at each of some writes, and start it again; returns the deaths that happened."""
    return die_in_turn(store, deaths, lambda mortal: run(mortal, job, **options))
