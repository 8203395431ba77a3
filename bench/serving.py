"""`vsearch serve` under load on this machine: latencies and memory, answers while a writer appends, and Chroma's server beside it.

Clients are threads of this process with one connection each, so they share the processor with the server: processor time of the
server per request says more than requests per second.
Run ``python -m bench.serving --requests 20000 --clients 4 --chroma PATH/chroma``.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vsearch
from bench import report
from bench.serving_servers import PATIENCE, Server, chroma_server, vsearch_server

RESULTS = Path(__file__).parent / "RESULTS.md"
K, QUERIES = 10, 200
PAUSE = 1.0
"""Seconds between two commits of the writer."""

COMMITS = 50
"""Commits after which the writer merges what it appended."""

ROUNDS = 3
"""Turns of each server, one after the other."""


class Client(threading.Thread):
    """Sends searches one after the other; counts answers that differ from the expected ones, and how many of these they contain."""

    def __init__(self, server: Server, bodies: list[bytes], expected: list[list[int]], count: int) -> None:
        super().__init__()
        self._server, self._bodies, self._expected, self._count = server, bodies, expected, count
        self.times: list[float] = []
        self.wrong = self.contained = 0

    def run(self) -> None:
        """Send all requests over one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=PATIENCE)
        for number in range(self._count):
            place = number % len(self._bodies)
            begun = time.perf_counter()
            connection.request("POST", self._server.path, self._bodies[place], {"content-type": "application/json"})
            reply = connection.getresponse()
            answer = json.loads(reply.read())
            self.times.append(time.perf_counter() - begun)
            ids = self._server.ids(answer) if reply.status == 200 else []
            self.wrong += ids != self._expected[place]
            self.contained += len(set(ids) & set(self._expected[place]))


@dataclass
class Load:
    """What requests to a server took.

    Attributes
    ----------
    times : list of float
        Seconds of each request, as the client sees it.
    seconds, processor : float
        Of all of them together; processor time of the server only.
    wrong, contained : int
        Answers other than expected, and expected rows in all answers.
    """

    times: list[float] = field(default_factory=list)
    seconds: float = 0.0
    processor: float = 0.0
    wrong: int = 0
    contained: int = 0

    def add(self, server: Server, bodies: list[bytes], expected: list[list[int]], requests: int, clients: int) -> None:
        """Send requests from several clients."""
        threads = [Client(server, bodies, expected, requests // clients) for _ in range(clients)]
        begun, processor = time.perf_counter(), server.processor_seconds()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds += time.perf_counter() - begun
        self.processor += server.processor_seconds() - processor
        self.times += [time_ for thread in threads for time_ in thread.times]
        self.wrong += sum(thread.wrong for thread in threads)
        self.contained += sum(thread.contained for thread in threads)

    def cells(self) -> list[object]:
        """Requests, requests per second, p50 and p99 in ms, and processor time of the server per request in ms."""
        p50, p99 = (float(time_) * 1e3 for time_ in np.percentile(self.times, [50, 99]))
        count = len(self.times)
        return [f"{count:,}", count / self.seconds, p50, p99, self.processor / count * 1e3]


class Writer(threading.Thread):
    """Appends ten rows a second that no search of the load matches, until it is stopped, and merges them now and then."""

    def __init__(self, index: vsearch.Index, vectors: NDArray[Any], firsts: Iterator[int]) -> None:
        super().__init__()
        self._index, self._vectors, self._firsts = index, vectors, firsts
        self._stopping, self.commits = threading.Event(), 0

    def run(self) -> None:
        """Append until stopped."""
        while not self._stopping.wait(PAUSE):
            first = next(self._firsts)
            self._index.append(self._vectors[:10], {"pos": ["appended"] * 10}, range(first, first + 10))
            self.commits += 1
            if self.commits % COMMITS == 0:
                self._index.optimize(retune=False)

    def stop(self) -> None:
        """Stop, and wait for the commit in progress."""
        self._stopping.set()
        self.join()


def under_load(
    folder: Path, vectors: NDArray[Any], words: list[str], requests: int, clients: int
) -> list[list[object]]:
    """Measure `vsearch serve` with one and two workers, with and without a writer; exact searches under a filter, so one answer is right."""
    index = vsearch.build(vectors, folder, {"pos": words}, ids=range(len(vectors)))
    queries = vectors[:QUERIES]
    expected = index.search(queries, K, "pos = 'verb'", exact=True).ids.tolist()
    lines: list[list[object]] = []
    firsts = itertools.count(10**6, 10)  # ids of appended rows
    for workers in (1, 2):
        with vsearch_server(str(folder), workers, exact=True) as server:
            bodies = [server.body(query, K, True) for query in queries]
            Load().add(server, bodies, expected, max(QUERIES * clients, requests // 10), clients)
            for writing in (False, True):
                load, memory = Load(), [server.megabytes()]
                writer = Writer(index, vectors, firsts)
                if writing:
                    writer.start()
                for _ in range(2):
                    load.add(server, bodies, expected, requests // 2, clients)
                    memory.append(server.megabytes())
                if writing:
                    writer.stop()
                lines.append([workers, writer.commits, *load.cells(), load.wrong, *memory])
                print(*lines[-1], sep=" | ", flush=True)
    return lines


def beside_chroma(
    folder: Path, vectors: NDArray[Any], words: list[str], chroma: str, requests: int, clients: int
) -> list[list[object]]:
    """Measure approximate searches of both servers in turns; recall against the true nearest rows."""
    vsearch.build(vectors, folder / "vsearch", {"pos": words}, ids=range(len(vectors)))
    queries, similar = vectors[:QUERIES], vectors[:QUERIES] @ vectors.T
    verbs = np.array([word == "verb" for word in words])
    lines: list[list[object]] = []
    with ExitStack() as stack:
        servers = {
            "vsearch serve": stack.enter_context(vsearch_server(str(folder / "vsearch"), 1)),
            "chroma run": stack.enter_context(chroma_server(chroma, folder / "chroma", vectors, words)),
        }
        for filtered in (False, True):
            allowed = np.where(verbs, similar, -np.inf) if filtered else similar
            expected = np.argsort(-allowed, axis=1, kind="stable")[:, :K].tolist()
            loads = {name: Load() for name in servers}
            bodies = {name: [s.body(query, K, filtered) for query in queries] for name, s in servers.items()}
            for number in range(-1, ROUNDS):
                for name, server in servers.items():
                    load = loads[name] if number >= 0 else Load()  # the first turn warms them
                    load.add(
                        server, bodies[name], expected, requests // ROUNDS if number >= 0 else 2 * QUERIES, clients
                    )
            for name, load in loads.items():
                recall = load.contained / (K * len(load.times))
                lines.append(
                    [name, "pos = 'verb'" if filtered else "none", *load.cells(), recall, servers[name].megabytes()]
                )
                print(*lines[-1], sep=" | ", flush=True)
    return lines


def main() -> None:
    """Measure, and replace the section of the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="for each line of the first table")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--chroma", help="the command of Chroma's server, in an environment of its own")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    sample = vsearch.datasets.load("wordnet-10k")
    vectors, words = sample.vectors, sample.attributes.column("pos").to_pylist()
    folder = Path(tempfile.mkdtemp())
    before = os.getloadavg()[0]
    try:
        lines = under_load(folder / "i", vectors, words, options.requests, options.clients)
        measured = ["requests", "requests/s", "p50 ms", "p99 ms", "server's processor ms/request"]
        text = [
            "## Serving over HTTP: wordnet-10k",
            (
                f"- data: the bundled sample, {len(vectors):,} x {vectors.shape[1]}; {options.clients} clients in one process, on the same "
                "cores as the server\n"
                f"- machine: {report.machine()}; load average {before:.1f} before, {os.getloadavg()[0]:.1f} after, so it was not idle: times "
                "are upper bounds, and processor time says more\n"
                f"- versions: {report.versions(['vsearch', 'uvicorn', 'starlette'])}\n"
                f"- date: {report.today()}"
            ),
            (
                f"Exact searches for {K} rows under a filter that no appended row passes, so that the right answer stays the same. The writer "
                f"commits ten rows a second, and merges them every {COMMITS} commits. Memory is that of all processes of the server, without "
                "mapped files: after the warm-up, after half of the requests, and after all."
            ),
            report.table(
                ["workers", "commits meanwhile", *measured, "wrong answers", "MB", "MB, half", "MB, end"], lines
            ),
        ]
        if options.chroma is not None:
            beside = beside_chroma(
                folder / "two", vectors, words, options.chroma, options.requests // 4, options.clients
            )
            text += [
                (
                    f"Beside Chroma's server, both with one process, defaults, and approximate searches for {K} rows, in {ROUNDS} turns each. "
                    "Vectors go to both as JSON."
                ),
                report.table(["server", "filter", *measured, f"recall@{K}", "MB"], beside),
            ]
        report.replace(options.output, "serving", "\n\n".join(text))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
