"""Settings of a server, which its worker processes read from the environment."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from vsearch.errors import InputError
from vsearch.storage.stores.opening import is_folder

VARIABLE = "VSEARCH_SERVE"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
ORIGIN = re.compile(r"https?://[a-z0-9.\[\]:_-]+|\*")
OWN_PATHS = ("health", "metrics", "search", "rows", "openapi.json", "console", "docs")


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The indexes that a server serves, and who may access them.

    Attributes
    ----------
    indexes : dict of str to str
        URLs by the name in the path; the index under "" is served at the root.
    search_key, write_key : str
        SHA-256 of the keys in hex; "" requires no key.
    writable : bool
        Whether changes are accepted.
    origins : tuple of str
        Origins of web pages that may call the server, such as ``https://example.org``; ``"*"`` for all.
    keyless : bool
        Whether any request is allowed without a key. The server is then only reachable from this machine.
    processes : int
        Processes of the server, which share the memory of the machine.
    cache : str, optional
        Folder that keeps what is read of the indexes in object stores.
    cache_bytes : int, optional
        Bytes that it may take.
    """

    indexes: dict[str, str]
    search_key: str = ""
    write_key: str = ""
    writable: bool = False
    origins: tuple[str, ...] = ()
    keyless: bool = False
    processes: int = 1
    cache: str | None = None
    cache_bytes: int | None = None

    @classmethod
    def of(
        cls,
        targets: Sequence[str],
        host: str,
        environment: Mapping[str, str],
        *,
        writable: bool,
        origins: Sequence[str] = (),
        processes: int = 1,
        cache: str | None = None,
        cache_bytes: int | None = None,
    ) -> ServerSettings:
        """Read targets, ``URL`` or ``name=URL``, and the keys ``VSEARCH_API_KEY`` and ``VSEARCH_WRITE_KEY``.

        Raises
        ------
        InputError
            A target or an origin is invalid, or there is no key although other machines or all web pages can connect; or there is a
            cache, but no index in an object store.
        """
        indexes: dict[str, str] = {}
        for target in targets:
            name, separator, url = target.partition("=")
            if not separator or not NAME.fullmatch(name):
                name, url = "", target
            if name in OWN_PATHS:
                raise InputError(f"an index cannot be called {name!r}: the server has a page of that name")
            if name in indexes:
                raise InputError(
                    f"two indexes have the same path, {name or '/'}: name them, as in words=s3://bucket/words"
                )
            indexes[name] = url
        if not indexes:
            raise InputError("there is no index to serve; pass its URL")
        search, write = (environment.get(name, "") for name in ("VSEARCH_API_KEY", "VSEARCH_WRITE_KEY"))
        if not is_loopback(host):
            if not search:
                raise InputError(f"other machines can connect to {host}: set VSEARCH_API_KEY, or serve on 127.0.0.1")
            if writable and not write:
                raise InputError(f"other machines can connect to {host}: set VSEARCH_WRITE_KEY, or omit --writable")
        keyless = not search or (writable and not write)
        allowed = tuple(origin.lower().rstrip("/") for origin in origins)
        for origin in allowed:
            if not ORIGIN.fullmatch(origin):
                raise InputError(
                    f"an origin must be a scheme and a host, such as https://example.org, got {origin!r:.100}"
                )
        if "*" in allowed and keyless:
            raise InputError("all web pages could call the server: set keys, or name the origins")
        if cache is not None and all(is_folder(url) for url in indexes.values()):
            raise InputError("cache is for indexes in object stores; all these are in folders, whose files are mapped")
        if cache is None and cache_bytes is not None:
            raise InputError("cache_bytes requires cache, the folder that it limits")
        return cls(indexes, _hash(search), _hash(write), writable, allowed, keyless, processes, cache, cache_bytes)

    def storage(self, url: str) -> dict[str, Any]:
        """Options with which an index is opened: the cache, unless its files are in a folder."""
        if self.cache is None or is_folder(url):
            return {}
        return {"cache": self.cache, "cache_bytes": self.cache_bytes}


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest() if key else ""
