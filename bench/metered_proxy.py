"""A proxy in front of an HTTP server on this machine that counts requests and bytes of answers, and can add a latency."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

REQUEST = b" HTTP/1.1\r\n"
START = 60.0


@dataclass
class Meter:
    """What a proxy counted since its start; `latency` are the seconds that it waits before it forwards the answer to a request."""

    endpoint: str
    _requests: Any
    _bytes: Any
    _latency: Any

    @property
    def counts(self) -> tuple[int, int]:
        """Requests, and bytes of answers with their headers."""
        return self._requests.value, self._bytes.value

    def delay(self, latency: float) -> None:
        """Set the latency in seconds."""
        self._latency.value = latency


async def _forward(reader: Any, writer: Any, target: int, requests: Any, answered: Any, latency: Any) -> None:
    upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", target)
    waiting = False

    async def send() -> None:
        nonlocal waiting
        end = b""
        while data := await reader.read(1 << 16):
            text = end + data
            count = text.count(REQUEST)
            end = text[-len(REQUEST) + 1 :]
            if count:
                requests.value += count
                waiting = True
            upstream_writer.write(data)
            await upstream_writer.drain()
        upstream_writer.close()

    async def answer() -> None:
        nonlocal waiting
        while data := await upstream_reader.read(1 << 18):
            if waiting:
                waiting = False
                if latency.value:
                    await asyncio.sleep(latency.value)
            answered.value += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()

    await asyncio.gather(send(), answer(), return_exceptions=True)


def _serve(target: int, port: Any, requests: Any, answered: Any, latency: Any) -> None:
    async def run() -> None:
        server = await asyncio.start_server(
            lambda reader, writer: _forward(reader, writer, target, requests, answered, latency), "127.0.0.1", 0
        )
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def metered(endpoint: str) -> Iterator[Meter]:
    """Run a proxy of an endpoint in its own process."""
    context = multiprocessing.get_context("spawn")
    requests, answered = context.Value("q", 0, lock=False), context.Value("q", 0, lock=False)
    latency = context.Value("d", 0.0, lock=False)
    here, there = context.Pipe()
    target = int(endpoint.rpartition(":")[2])
    process = context.Process(target=_serve, args=(target, there, requests, answered, latency), daemon=True)
    process.start()
    try:
        if not here.poll(START):
            raise TimeoutError("the proxy did not start")
        yield Meter(f"http://127.0.0.1:{here.recv()}", requests, answered, latency)
    finally:
        process.kill()
        process.join()
