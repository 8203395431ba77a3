"""The exceptions of vsearch, one tree.

::

    VsearchError
    ├── InputError (ValueError)              what the caller gave is not usable
    │   └── PredicateError                   a ``where`` that is no predicate on this index
    ├── IndexNotFoundError (FileNotFoundError)
    │   └── SnapshotNotFoundError            no such snapshot: it never was, or was pruned, perhaps while it was open
    │       └── RemoteSnapshotNotFoundError (RemoteError)  functions say so
    ├── IndexExistsError (FileExistsError)   refused: the target already holds an index
    ├── CorruptIndexError                    a file is damaged; ``path`` names it
    ├── FormatVersionError                   the index was written by a newer vsearch
    ├── ConflictError                        another writer was first
    ├── StoreError (OSError)                 the object store or file system failed
    ├── MissingDependencyError (ImportError) an optional package is needed
    ├── RemoteError                          functions could not be called, or failed
    │   └── IncompleteAnswerError            some shards gave no answer
    └── SearchTimeoutError (TimeoutError)    the search ran into its ``timeout``

Every message says what is wrong and what to do about it. Errors travel between processes (pickle) with all their attributes
and with the text of their cause. What is worth knowing but no error is a ``VsearchWarning``; an old name that still works is a
``VsearchDeprecationWarning``.
"""

from __future__ import annotations

from typing import Any


class VsearchError(Exception):
    """Base of all errors that vsearch raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # By itself Python would call the class with `args` alone, which fails where __init__ takes something else.
        _, arguments, *state = tuple(super().__reduce__())
        attributes: dict[str, Any] = dict(state[0] or {}) if state else {}
        if self.__cause__ is not None:
            attributes["__cause__"] = Cause.of(self.__cause__)
        return _restore, (type(self), arguments), attributes or None


class Cause(Exception):  # noqa: N818 (it is raised nowhere)
    """What an error from another process was raised from, as text: that exception itself need not travel."""

    @classmethod
    def of(cls, error: BaseException) -> Cause:
        """The type and message of an exception."""
        if isinstance(error, Cause):
            return error
        return cls(f"{type(error).__module__}.{type(error).__qualname__}: {error}")


def _restore(kind: type[VsearchError], arguments: tuple[Any, ...]) -> VsearchError:
    """An error as it was before its attributes are set, without calling its own __init__."""
    error = kind.__new__(kind, *arguments)
    super(VsearchError, error).__init__(*arguments)  # OSError takes its number and file name from these
    return error


class VsearchWarning(UserWarning):
    """Something was left out or done otherwise than one might expect; the message names it."""


class VsearchDeprecationWarning(VsearchWarning, DeprecationWarning):
    """A name, a path or an option that a later version removes; the message says when, and what to use instead."""


class InputError(VsearchError, ValueError):
    """What the caller gave cannot be used as it is."""


class PredicateError(InputError):
    """A ``where`` that is no predicate, or not one on this index."""


class IndexNotFoundError(VsearchError, FileNotFoundError):
    """No index is at the given place."""


class SnapshotNotFoundError(IndexNotFoundError):
    """There is no such snapshot: it never was, or it was pruned, perhaps since it was opened."""


class ChangesNotFoundError(SnapshotNotFoundError):
    """What changed since a snapshot can no longer be told; read the whole index instead.

    Attributes
    ----------
    oldest : int
        The oldest snapshot whose changes can still be told.
    """

    def __init__(self, *arguments: object, oldest: int = 0) -> None:
        super().__init__(*arguments)
        self.oldest = oldest


class IndexExistsError(VsearchError, FileExistsError):
    """The target already holds an index and ``overwrite`` was not asked for."""


class CorruptIndexError(VsearchError):
    """A file of the index is damaged.

    Attributes
    ----------
    path : str
        The damaged file, relative to the index.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class FormatVersionError(VsearchError):
    """The index was written in a format newer than this version reads."""


class ConflictError(VsearchError):
    """Another writer committed first; open the index again and retry."""


class StoreError(VsearchError, OSError):
    """The object store or the file system refused or failed."""


class MissingDependencyError(VsearchError, ImportError):
    """An optional package is needed for what was asked."""


class SearchTimeoutError(VsearchError, TimeoutError):
    """The search was stopped at its ``timeout``; no partial answer is given."""


class RemoteError(VsearchError):
    """The functions of a stack could not be called, or failed."""


class RemoteSnapshotNotFoundError(SnapshotNotFoundError, RemoteError):
    """The functions of a stack do not find the snapshot that was asked for: it never was, or was pruned."""


class IncompleteAnswerError(RemoteError):
    """Some shards gave no answer, and no partial answer was asked for."""
