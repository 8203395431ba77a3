"""`vsearch serve` under load on this machine: requests per second, latencies and memory, and answers while a writer appends.

Clients are threads of this process with one connection each, so they share the processor with the server.
Run ``python -m bench.serving --requests 5000 --clients 4``. It prints a table.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import vsearch

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 180.0


@contextmanager
def serving(url: str, workers: int) -> Iterator[tuple[int, list[int]]]:
    """Start the server; its port, and the ids of its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vsearch.cli", "serve", url, "--port", str(port), "--workers", str(workers)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/health")
                connection.getresponse().read()
                break
            except OSError:
                time.sleep(0.2)
        yield port, [server.pid, *children(server.pid)]
    finally:
        server.terminate()
        server.wait()


def children(process: int) -> list[int]:
    """Return the ids of a process's children."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
    return [int(word) for word in listed.split()]


def anonymous_megabytes(processes: list[int]) -> float:
    """Return the memory of processes that is not mapped from files."""
    total = 0
    for process in processes:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return total / 1000


class Client(threading.Thread):
    """Sends searches one after the other, and compares each answer with the expected one."""

    def __init__(self, port: int, bodies: list[bytes], expected: list[list[int]], count: int) -> None:
        super().__init__()
        self._port, self._bodies, self._expected, self._count = port, bodies, expected, count
        self.times: list[float] = []
        self.wrong = 0

    def run(self) -> None:
        """Send all requests over one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        for number in range(self._count):
            place = number % len(self._bodies)
            begun = time.perf_counter()
            connection.request("POST", "/search", self._bodies[place])
            reply = connection.getresponse()
            found = json.loads(reply.read())
            self.times.append(time.perf_counter() - begun)
            ids = [hit["id"] for hit in found["hits"][0]] if reply.status == 200 else None
            self.wrong += ids != self._expected[place]


def run(
    port: int, bodies: list[bytes], expected: list[list[int]], requests: int, clients: int
) -> tuple[float, list[float], int]:
    """Send requests from several clients; requests per second, times, and wrong answers."""
    threads = [Client(port, bodies, expected, requests // clients) for _ in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = [time_ for thread in threads for time_ in thread.times]
    return len(times) / (time.perf_counter() - begun), times, sum(thread.wrong for thread in threads)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=4)
    asked = parser.parse_args()
    sample = vsearch.datasets.load("wordnet-10k")
    folder = tempfile.mkdtemp()
    index = vsearch.build(
        sample.vectors, Path(folder) / "i", sample.attributes.select(["pos"]), ids=range(len(sample.vectors))
    )
    # rows of the index under a filter that no appended row passes: their answers stay the same while it changes
    queries = sample.vectors[:200]
    expected = [index.search(query, 10, "pos = 'verb'", exact=True).ids[0].tolist() for query in queries]
    bodies = [
        json.dumps({"vector": query.tolist(), "k": 10, "where": "pos = 'verb'", "exact": True}).encode()
        for query in queries
    ]
    print(
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.0f} before; {asked.requests} requests of {asked.clients} clients"
    )
    print("| workers | writer | requests/s | p50 ms | p99 ms | wrong | MB before | MB after |")
    print("|---|---|---|---|---|---|---|---|")
    for workers in (1, 2):
        with serving(str(Path(folder) / "i"), workers) as (port, processes):
            run(port, bodies, expected, max(200, asked.requests // 10), asked.clients)
            for writing in (False, True):
                stop = threading.Event()
                writer = threading.Thread(target=append, args=(index, stop, sample.vectors))
                if writing:
                    writer.start()
                before = anonymous_megabytes(processes)
                rate, times, wrong = run(port, bodies, expected, asked.requests, asked.clients)
                after = anonymous_megabytes(processes)
                stop.set()
                if writing:
                    writer.join()
                p50, p99 = np.percentile(times, [50, 99]) * 1e3
                print(
                    f"| {workers} | {'yes' if writing else 'no'} | {rate:.0f} | {p50:.1f} | {p99:.1f} | {wrong} | {before:.0f} | {after:.0f} |",
                    flush=True,
                )
    shutil.rmtree(folder)


def append(index: vsearch.Index, stop: threading.Event, vectors: np.ndarray) -> None:
    """Add rows until told to stop."""
    while not stop.is_set():
        first = 10**6 + index.snapshot.manifest.rows
        index.append(vectors[:10], {"pos": ["appended"] * 10}, range(first, first + 10))
        stop.wait(0.2)


if __name__ == "__main__":
    main()
