"""Kinds of stores: one record for the schemes of each. A kind's module is imported when a URL first asks for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from vsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vsearch.storage.stores.base import Store

    Opener = Callable[..., Store]

GROUP = "vsearch.stores"
"""Entry points of other packages: the name is a scheme, the object a `StoreKind`."""


@dataclass(frozen=True, slots=True)
class StoreKind:
    """One kind of store, as `register_store` takes it.

    Attributes
    ----------
    schemes : tuple of str
        Of its URLs, in lower case and without ``://``; the first is the one that messages name.
    name : str
        What it is, in words.
    opener : str
        ``module:function``; the function takes the URL, whose scheme may be in any case, and the options as keywords, and
        returns a `Store`.
    options : tuple of str
        Names of the keywords. Those that are given to another kind are refused.
    bucket : bool
        The URL's host is a bucket on which others may have rights, so that an index needs a prefix of its own.
    """

    schemes: tuple[str, ...]
    name: str
    opener: str
    options: tuple[str, ...] = ()
    bucket: bool = False

    def load(self) -> Opener:
        """The function that opens a URL."""
        module, _, function = self.opener.partition(":")
        return cast("Opener", getattr(import_module(module), function))


FOLDER = StoreKind(("",), "a folder", "vsearch.storage.stores.folder:open_folder")
"""What has no scheme."""

BUILT_IN = (
    FOLDER,
    StoreKind(("file",), "a folder", "vsearch.storage.stores.folder:open_file_url"),
    StoreKind(
        ("s3",),
        "Amazon S3, and what speaks its API",
        "vsearch.storage.stores.s3:open_s3",
        (
            "endpoint",
            "region",
            "profile",
            "anonymous",
            "allow_http",
            "access_key_id",
            "secret_access_key",
            "session_token",
        ),
        bucket=True,
    ),
    StoreKind(
        ("gs",),
        "Google Cloud Storage",
        "vsearch.storage.stores.gcs:open_gcs",
        ("endpoint", "anonymous", "allow_http", "credentials_file", "service_account_key", "bearer_token"),
        bucket=True,
    ),
    StoreKind(
        ("az", "abfs", "abfss"),
        "Azure Blob Storage",
        "vsearch.storage.stores.azure:open_azure",
        ("account", "endpoint", "anonymous", "allow_http", "account_key", "sas_token", "bearer_token"),
        bucket=True,
    ),
    StoreKind(("memory",), "memory of this process, for tests", "vsearch.storage.stores.object_store:open_memory"),
)

_kinds = {scheme: kind for kind in BUILT_IN for scheme in kind.schemes}

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+")
_ELSEWHERE = frozenset({"lambda", "local-faas"})  # vsearch.open takes these for stacks of functions


def register_store(kind: StoreKind) -> None:
    """Let `open_store`, and all that takes the URL of an index, open URLs of further schemes.

    A package that is installed need not call this: an entry point of the group ``vsearch.stores``, named as the scheme, whose
    object is the `StoreKind`, is found when such a URL is first opened. `vsearch.testing.stores.StoreContract` has the tests
    that the store must pass.

    Raises
    ------
    InputError
        A scheme is not valid or already taken, or the opener is not written as ``module:function``.
    """
    for scheme in kind.schemes:
        if not _SCHEME.fullmatch(scheme):
            raise InputError(f"a scheme must be two or more of a-z 0-9 + . - and begin with a letter, got {scheme!r}")
        if scheme in _kinds or scheme in _ELSEWHERE:
            of = _kinds[scheme].name if scheme in _kinds else "stacks of functions"
            raise InputError(f"{scheme}:// is already taken, by {of}")
    if not kind.schemes or not re.fullmatch(r"\w+(\.\w+)*:\w+", kind.opener):
        raise InputError(
            f"a store needs schemes and an opener 'module:function', got {kind.schemes} and {kind.opener!r}"
        )
    _kinds.update(dict.fromkeys(kind.schemes, kind))


def find_kind(scheme: str) -> StoreKind | None:
    """The kind that opens URLs of a scheme (lower case; empty for folders); None where nobody does."""
    if scheme not in _kinds:
        _load_entry_point(scheme)
    return _kinds.get(scheme)


def store_kinds() -> tuple[StoreKind, ...]:
    """All kinds that are registered, folders first."""
    return tuple(dict.fromkeys(_kinds.values()))


def one_slash(url: str) -> bool:
    """Whether a text without a scheme looks like a URL that lacks a slash or both."""
    schemes = "|".join(re.escape(scheme) for scheme in (*_kinds, *sorted(_ELSEWHERE)) if scheme)
    return re.match(rf"[a-z][a-z0-9+.-]+:/(?!/)|({schemes}):(?!//)", url, re.IGNORECASE) is not None


def _load_entry_point(scheme: str) -> None:
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP, name=scheme):
        kind = point.load()
        if not isinstance(kind, StoreKind) or scheme not in kind.schemes:
            raise InputError(f"the entry point {scheme!r} of {GROUP} must be a StoreKind of {scheme}://, got {kind!r}")
        register_store(kind)
        return
