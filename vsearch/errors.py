"""The exception hierarchy of vsearch.

::

    VsearchError
    ├── InputError (ValueError)              an argument or input is invalid
    │   └── PredicateError                   a ``where`` is invalid, or invalid for this index
    ├── IndexNotFoundError (FileNotFoundError)
    │   └── SnapshotNotFoundError            the snapshot never existed, or was pruned, perhaps while it was open
    │       └── RemoteSnapshotNotFoundError (RemoteError)  the same, reported by functions
    ├── IndexExistsError (FileExistsError)   the target already contains an index
    ├── CorruptIndexError                    a file is damaged; ``path`` names it
    ├── FormatVersionError                   the index was written by a newer vsearch
    ├── ConflictError                        another writer committed first
    ├── StoreError (OSError)                 the object store or file system failed
    ├── MissingDependencyError (ImportError) an optional package is needed
    ├── RemoteError                          functions could not be called, or failed
    │   └── IncompleteAnswerError            some shards did not answer
    └── SearchTimeoutError (TimeoutError)    the search exceeded its ``timeout``

Messages say what is wrong and what to do about it. Errors can be pickled between processes with all their attributes and the
text of their cause. Conditions worth knowing that are not errors are reported as ``VsearchWarning``; uses of a deprecated name
as ``VsearchDeprecationWarning``.
"""

from __future__ import annotations

import copyreg
from typing import Any


class VsearchError(Exception):
    """Base class of all errors that vsearch raises deliberately."""

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, unpickling calls the class with `args` alone, which fails if __init__ has other parameters.
        _, arguments, *state = tuple(super().__reduce__())
        attributes: dict[str, Any] = dict(state[0] or {}) if state else {}
        if self.__cause__ is not None:
            attributes["__cause__"] = Cause.of(self.__cause__)
        return _restore, (type(self), arguments), attributes or None


def restore_pickling() -> None:
    """Let the errors of vsearch be pickled by their own method again, after a library registered one for all exceptions.

    dask.distributed does, on import: its method pickles causes unchanged, and fails if that is impossible.
    """
    kinds: list[type[VsearchError]] = [VsearchError]
    for kind in kinds:
        copyreg.dispatch_table.pop(kind, None)
        kinds += kind.__subclasses__()


class Cause(Exception):  # noqa: N818 (never raised)
    """The cause of an error from another process, as text, since the original exception may not be picklable."""

    @classmethod
    def of(cls, error: BaseException) -> Cause:
        """Describe an exception by type and message."""
        if isinstance(error, Cause):
            return error
        return cls(f"{type(error).__module__}.{type(error).__qualname__}: {error}")


def _restore(kind: type[VsearchError], arguments: tuple[Any, ...]) -> VsearchError:
    """Recreate an error, except for its attributes, without calling its own __init__."""
    error = kind.__new__(kind, *arguments)
    super(VsearchError, error).__init__(*arguments)  # OSError sets errno and filename from these
    return error


class VsearchWarning(UserWarning):
    """Input was left out or handled in an unexpected way; the message says how."""


class VsearchDeprecationWarning(VsearchWarning, DeprecationWarning):
    """A name, path or option that a later version will remove; the message says when, and what to use instead."""


class InputError(VsearchError, ValueError):
    """An argument or input is invalid."""


class PredicateError(InputError):
    """A ``where`` is not a valid predicate, or not valid for this index."""


class IndexNotFoundError(VsearchError, FileNotFoundError):
    """There is no index at this location."""


class SnapshotNotFoundError(IndexNotFoundError):
    """There is no such snapshot: it never existed, or was pruned, perhaps while it was open."""


class ChangesNotFoundError(SnapshotNotFoundError):
    """The changes since a snapshot can no longer be determined; read the whole index instead.

    Attributes
    ----------
    oldest : int
        The oldest snapshot for which they can still be determined.
    """

    def __init__(self, *arguments: object, oldest: int = 0) -> None:
        super().__init__(*arguments)
        self.oldest = oldest


class IndexExistsError(VsearchError, FileExistsError):
    """The target already contains an index, and ``overwrite`` is false."""


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
    """The index was written in a newer format than this version supports."""


class ConflictError(VsearchError):
    """Another writer committed first; open the index again and retry."""


class StoreError(VsearchError, OSError):
    """The object store or the file system failed or refused a request."""


class MissingDependencyError(VsearchError, ImportError):
    """An optional package is needed for this operation."""


class SearchTimeoutError(VsearchError, TimeoutError):
    """The search was stopped at its ``timeout``; no partial result is returned."""


class RemoteError(VsearchError):
    """The functions of a stack could not be called, or failed."""


class RemoteSnapshotNotFoundError(SnapshotNotFoundError, RemoteError):
    """The functions of a stack cannot find the requested snapshot: it never existed, or was pruned."""


class IncompleteAnswerError(RemoteError):
    """Some shards did not answer, and partial results were not allowed."""
