"""An index behind the HTTP API of the functions, with all roles in this process."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms import http_api
from vsearch.fanout.platforms.http_api import KeyHashes
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles.worker import Worker
from vsearch.serving.memory import role_megabytes
from vsearch.storage import open_store

UNPRICED = ("bill",)
"""Fields of answers that only make sense where functions are paid for."""


class Endpoint:
    """Answers requests to one index. Thread-safe.

    Parameters
    ----------
    url : str
    search_key, write_key : str
        SHA-256 of the keys in hex; "" requires no key.
    writable : bool
        Whether changes are accepted.
    memory : int, optional
        Megabytes that each role is billed for. Half of it is for what the role keeps of snapshots: what it read from a bucket, and what it
        computed. By default, a share of the machine; see `role_megabytes`.
    **storage
        As for `vsearch.open`.
    """

    def __init__(
        self,
        url: str,
        search_key: str = "",
        write_key: str = "",
        *,
        writable: bool = False,
        memory: int | None = None,
        **storage: Any,
    ) -> None:
        names, memory = Names("serve"), memory or role_megabytes(1, 1)
        self.url = url
        self._internal_key = secrets.token_urlsafe(32)  # as if sent by clients that need no key
        key_hash = hashlib.sha256(self._internal_key.encode()).hexdigest()
        self._keyless, self._writes_keyless = not search_key, not write_key
        self._keys = KeyHashes(search_key or key_hash, (write_key or key_hash) if writable else "")

        def make(function: str) -> Worker:
            role = names.role(function)
            worker = Worker.open(
                role, open_store(url, **storage), function, memory=memory, invoker=self._invoker, names=names
            )
            if role == "writer":
                from vsearch.fanout.roles.writer import Writer

                worker.run = Writer().answer
            return worker

        self._invoker = LocalInvoker(make)
        self._coordinator = names.coordinator

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, query: str = ""
    ) -> tuple[int, dict[str, Any]]:
        """Answer a request; see `vsearch.fanout.platforms.http_api.answer`."""
        status, document = self.priced(method, path, headers, body, query)
        return status, {name: value for name, value in document.items() if name not in UNPRICED}

    def priced(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, query: str = ""
    ) -> tuple[int, dict[str, Any]]:
        """Answer a request, with the bill of functions that have this processor and `memory`."""
        with_key = self._with_keys(headers)
        worker = self._invoker.worker(self._coordinator)
        return http_api.answer(worker, method, path, with_key, body, self._keys, Deadline(), query)

    def admits(self, path: str, headers: Mapping[str, str]) -> bool:
        """Whether a request has the required key, so that its body needs to be read."""
        of_rows = path == "/rows"
        header, key_hash = ("x-write-key", self._keys.write) if of_rows else ("x-api-key", self._keys.search)
        return http_api.knows_key(self._with_keys(headers), header, key_hash)

    def _with_keys(self, headers: Mapping[str, str]) -> dict[str, str]:
        merged = dict(headers)
        if self._keyless:
            merged["x-api-key"] = self._internal_key
        if self._writes_keyless:
            merged["x-write-key"] = self._internal_key
        return merged
