"""Engines that run the tasks of a job: this process, or a dask cluster, which schedules tasks and retries failed ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

from vsearch.cluster.description import build_division
from vsearch.cluster.tasks import Task
from vsearch.errors import InputError, MissingDependencyError, VsearchError, restore_pickling

_LOCAL = re.compile(r"local(?::([1-9][0-9]{0,3}))?")


class SerialEngine:
    """Runs tasks in this process, one after another."""

    def run(self, task: Task, stage: str, numbers: Sequence[int]) -> Iterator[VsearchError | None]:
        """Run the tasks of a stage."""
        del stage
        for number in numbers:
            yield task(number)


class DaskEngine:
    """Runs tasks on the workers of a dask cluster.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, task: Task, stage: str, numbers: Sequence[int]) -> Iterator[VsearchError | None]:
        """Run the tasks of a stage; unfinished ones are cancelled if the caller stops.

        Raises
        ------
        VsearchError
            Workers died repeatedly while running a task.
        """
        run = uuid4().hex[:8]
        futures = [
            self._client.submit(
                task,
                number,
                key=f"vsearch-{stage}-{number}-{run}",
                pure=False,
                retries=build_division().retries,
            )
            for number in numbers
        ]
        yield from self._results(futures, stage)

    def compute(self, values: Sequence[Any], stage: str) -> Iterator[Any]:
        """Compute delayed values, and yield them as they are done; see `run`."""
        if values:
            yield from self._results(self._client.compute(list(values), retries=build_division().retries), stage)

    def _results(self, futures: list[Any], stage: str) -> Iterator[Any]:
        from distributed import KilledWorker, as_completed

        try:
            for _, result in as_completed(futures, loop=self._client.loop, with_results=True):
                yield result
        except KilledWorker as error:
            msg = f"workers died repeatedly in stage {stage!r} ({error.task}): give them more memory, then start the build again to continue it"
            raise VsearchError(msg) from error
        finally:
            self._client.cancel(futures)


@contextmanager
def open_engine(client: object) -> Iterator[DaskEngine]:
    """Open the engine for a `client` argument; a cluster started here is stopped on exit.

    Parameters
    ----------
    client : "local", "local:<workers>", address or distributed.Client

    Raises
    ------
    InputError
        `client` is none of these, or nothing answers at the address.
    MissingDependencyError
        distributed is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        msg = "building on a cluster needs dask.distributed; install it with: pip install 'vsearch[cluster]'"
        raise MissingDependencyError(msg) from error
    restore_pickling()
    if isinstance(client, distributed.Client):
        yield DaskEngine(client)
        return
    local = _LOCAL.fullmatch(client) if isinstance(client, str) else None
    if not isinstance(client, str) or (local is None and ("local:" in client or ":" not in client)):
        msg = f"client must be a dask Client, its address, 'local' or 'local:<workers>', got {client!r:.100}"
        raise InputError(msg)
    with ExitStack() as stack:
        target: Any = client
        if local is not None:
            from vsearch.cores import available_cores

            workers = int(local[1] or available_cores())
            target = stack.enter_context(
                distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
            )
        try:
            opened = distributed.Client(target, set_as_default=False)
        except (OSError, ValueError) as error:
            msg = f"client={client!r}: no dask scheduler answers there ({error})"
            raise InputError(msg) from error
        yield DaskEngine(stack.enter_context(opened))
