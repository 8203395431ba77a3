"""Servers under load: `vsearch serve`, and Chroma's own beside it, each with its processes and the body of a search."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PATIENCE = 180.0
ADD = 1000
"""Rows per request that fills Chroma."""

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A server on this machine.

    Attributes
    ----------
    port : int
    process : int
    path : str
        Of searches.
    body : callable
        ``body(query, k, verbs)`` is the body of a search, `verbs` whether only for rows whose `pos` is "verb".
    ids : callable
        ``ids(reply)`` are the row numbers in a decoded reply.
    """

    port: int
    process: int
    path: str
    body: Callable[[NDArray[Any], int, bool], bytes]
    ids: Callable[[Any], list[int]]

    @property
    def processes(self) -> list[int]:
        """Ids of its processes."""
        return family(self.process)

    def processor_seconds(self) -> float:
        """Processor time of all its processes so far."""
        total = 0
        for process in self.processes:
            fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def megabytes(self) -> float:
        """Its memory that is not mapped from files."""
        total = 0
        for process in self.processes:
            lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
        return total / 1000


def family(process: int) -> list[int]:
    """Ids of a process and all that it started."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
    return [process, *(member for word in listed.split() for member in family(int(word)))]


@contextmanager
def running(command: Sequence[str], health: str) -> Iterator[tuple[int, int]]:
    """Start a server, whose command ends with the option of its port; its port and process, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if ask(port, "GET", health)[0] == 200:
                    break
            except OSError:
                if time.monotonic() > end or server.poll() is not None:
                    raise
            time.sleep(0.2)
        yield port, server.pid
    finally:
        server.terminate()
        server.wait()


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    """Send one request; its status and decoded answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path, body, {"content-type": "application/json"})
    reply = connection.getresponse()
    data = reply.read()
    return reply.status, json.loads(data) if data else None


@contextmanager
def vsearch_server(url: str, workers: int, *, exact: bool = False) -> Iterator[Server]:
    """`vsearch serve` for one index."""
    command = [sys.executable, "-m", "vsearch.cli", "serve", url, "--workers", str(workers), "--port"]

    def body(query: NDArray[Any], k: int, verbs: bool) -> bytes:
        fields: dict[str, Any] = {"vector": query.tolist(), "k": k}
        fields |= {"where": "pos = 'verb'"} if verbs else {}
        fields |= {"exact": True} if exact else {}
        return json.dumps(fields).encode()

    with running(command, "/health") as (port, process):
        yield Server(port, process, "/search", body, lambda reply: [hit["id"] for hit in reply["hits"][0]])


@contextmanager
def chroma_server(command: str, folder: Path, vectors: NDArray[Any], words: Sequence[str]) -> Iterator[Server]:
    """`chroma run` with a collection of the vectors and one attribute, `pos`; `command` is its path."""
    base = "/api/v2/tenants/default_tenant/databases/default_database/collections"

    def body(query: NDArray[Any], k: int, verbs: bool) -> bytes:
        fields: dict[str, Any] = {"query_embeddings": [query.tolist()], "n_results": k, "include": ["distances"]}
        fields |= {"where": {"pos": "verb"}} if verbs else {}
        return json.dumps(fields).encode()

    with running([command, "run", "--path", str(folder), "--port"], "/api/v2/heartbeat") as (port, process):
        settings = {"name": "words", "configuration": {"hnsw": {"space": "cosine"}}}
        status, made = ask(port, "POST", base, json.dumps(settings).encode())
        if status != 200:
            raise RuntimeError(f"Chroma made no collection: {made}")
        path = f"{base}/{made['id']}"
        for start in range(0, len(vectors), ADD):
            stop = min(start + ADD, len(vectors))
            rows = {
                "ids": [str(row) for row in range(start, stop)],
                "embeddings": vectors[start:stop].astype(np.float64).round(8).tolist(),
                "metadatas": [{"pos": word} for word in words[start:stop]],
            }
            status, reply = ask(port, "POST", f"{path}/add", json.dumps(rows).encode())
            if status not in (200, 201):
                raise RuntimeError(f"Chroma took no rows: {reply}")
        yield Server(port, process, f"{path}/query", body, lambda reply: [int(row) for row in reply["ids"][0]])
