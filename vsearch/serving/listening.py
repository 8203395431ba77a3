"""Listen for connections in one process or in several."""

from __future__ import annotations

import inspect
import socket
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess


class ListeningConfig(uvicorn.Config):
    """Configuration of a server whose processes share a socket that sends small packets at once.

    asyncio does this only for sockets of a known protocol, which a shared one does not have: an answer would wait 40 ms for the client
    to acknowledge its headers.
    """

    def bind_socket(self) -> socket.socket:
        """Bind the shared socket; the sockets of connections inherit its options."""
        bound = super().bind_socket()
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return bound


def listen(application: str, *, workers: int, **options: Any) -> None:
    """Serve until a signal stops it.

    Parameters
    ----------
    application : str
        ``module:function`` that makes the ASGI application.
    workers : int
        Processes.
    **options
        As for `uvicorn.run`.
    """
    if workers == 1:
        uvicorn.run(application, factory=True, workers=1, **options)
        return
    config = ListeningConfig(application, factory=True, workers=workers, **options)
    # older versions of uvicorn also take what a process runs
    older = "target" in inspect.signature(Multiprocess).parameters
    target: dict[str, Any] = {"target": uvicorn.Server(config).run} if older else {}
    Multiprocess(config, sockets=[config.bind_socket()], **target).run()
