"""Opening a store by its URL; the kinds of stores are in `vsearch.storage.stores.registry`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError
from vsearch.storage.stores.registry import FOLDER, StoreKind, find_kind, one_slash, store_kinds
from vsearch.storage.stores.urls import redacted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vsearch.storage.stores.base import Store

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")


def open_store(url: str | os.PathLike[str], **options: Any) -> Store:
    """Open the store at the URL of an existing or new index. Reads and creates nothing.

    Parameters
    ----------
    url
        A folder, ``file://...``, ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix`` (or ``abfs://``,
        ``abfss://``), for tests ``memory://name/prefix``, or a URL with a scheme registered by `register_store`.
    **options
        Defaults come from the provider's usual environment variables and files. None and False count as not set.

        ``s3://``: ``endpoint``, ``region``, ``profile``, ``anonymous`` (do not sign), ``allow_http`` (for an endpoint
        that is not on this machine), ``access_key_id``, ``secret_access_key``, ``session_token``.

        ``gs://``: ``endpoint``, ``anonymous``, ``allow_http``, and one of ``credentials_file`` (path to JSON, of a service
        account or a login), ``service_account_key`` (such JSON itself) and ``bearer_token`` (is not renewed).

        ``az://``: ``account``, ``endpoint``, ``anonymous``, ``allow_http``, and one of ``account_key``, ``sas_token`` and
        ``bearer_token`` (is not renewed).

        For each of them: ``cache``, the path of a folder of this machine that keeps what is read of data files, for this and other
        processes, and is made if it is missing; and ``cache_bytes``, an integer, the bytes on disk that all its users may take together, 1 GiB
        by default and at least 1 MiB. See `CachedStore`.

    Raises
    ------
    InputError
        The URL or an option is invalid, or the folder of the cache cannot be written to.
    """
    cache, cache_bytes = options.pop("cache", None), options.pop("cache_bytes", None)
    if cache is None and cache_bytes is not None:
        raise InputError("cache_bytes requires cache, the folder that it limits")
    text: Any = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str):
        raise InputError(f"the folder or URL of an index must be a string or a path, got {type(url).__name__}")
    if not text.strip() or "\0" in text:
        raise InputError("the folder or URL of an index must not be empty")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise InputError(f"the folder or URL of an index must be valid Unicode, got {redacted(text)!r:.200}") from None
    if text != text.strip() and _SCHEME.match(text.strip()):
        raise InputError(f"{redacted(text)!r} begins or ends with white space; remove it")
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else ""
    kind = find_kind(scheme)
    if kind is None:
        *most, last = _schemes(store_kinds())
        raise InputError(f"{redacted(text)!r}: {scheme}:// is not supported; use a folder, {', '.join(most)} or {last}")
    present = {name: value for name, value in options.items() if value not in (None, False)}
    unknown = sorted(set(present).difference(kind.options))
    if unknown:
        raise InputError(_refuse(unknown, kind, text))
    if kind is FOLDER and one_slash(text) and not os.path.lexists(text):
        raise InputError(
            f"{redacted(text)!r} is not a URL: two slashes must follow the colon; write ./name for a folder with such a name"
        )
    if cache is None:
        return kind.load()(text, **present)
    if is_folder(text):
        raise InputError(
            f"cache is for indexes in object stores; {redacted(text)!r} is a folder, whose files are mapped"
        )
    from vsearch.storage.stores.cached import cached_store

    return cached_store(kind.load()(text, **present), cache, cache_bytes)


def is_folder(url: str | os.PathLike[str]) -> bool:
    """Whether a valid location of an index is a folder of this machine."""
    match = _SCHEME.match(os.fspath(url))
    return match is None or match[1].lower() == "file"


def reopening_options(store: Store) -> dict[str, Any]:
    """Return the options with which another process opens a store, without keys, which that process looks up itself."""
    return dict(getattr(store, "_options", {}))  # those of a cache belong to this machine


def _refuse(names: list[str], kind: StoreKind, url: str) -> str:
    """Explain why a kind of store does not accept these options."""
    listed = ", ".join(names)
    takers = _schemes(taker for taker in store_kinds() if set(names) <= set(taker.options))
    if takers:
        *most, last = takers
        schemes = f"{', '.join(most)} and {last}" if most else last
        return f"{listed}: only for {schemes} URLs, not for {redacted(url)!r}"
    if not kind.options:
        return f"{listed}: no such option; {kind.name} takes none"
    return f"{listed}: no such option of {kind.schemes[0]}:// URLs, which accept {', '.join(kind.options)}"


def _schemes(kinds: Iterable[StoreKind]) -> list[str]:
    return [f"{kind.schemes[0]}://" for kind in kinds if kind is not FOLDER]
