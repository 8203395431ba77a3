"""Recognize dask collections, which only a cluster reads."""

from __future__ import annotations

from vsearch.errors import InputError


def is_collection(source: object) -> bool:
    """Whether a source is a dask DataFrame or bag; does not import dask."""
    return type(source).__module__.startswith(("dask.dataframe.", "dask.bag.")) and hasattr(source, "to_delayed")


def refuse_collection(source: object) -> None:
    """Refuse a dask DataFrame or bag.

    Raises
    ------
    InputError
        The source is one; only builds on a cluster (``client=``) read these.
    """
    if is_collection(source):
        raise InputError(
            f"a dask {type(source).__name__} needs client=, which reads it on a dask cluster or with processes on this machine; or pass "
            "the result of its compute()"
        )
