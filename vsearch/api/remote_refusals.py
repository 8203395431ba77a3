"""What functions do not do, since they only read: each method of `vsearch.Index` that changes it says so."""

from __future__ import annotations

from typing import Any, NoReturn

from vsearch.errors import InputError


def _refuse(what: str) -> NoReturn:
    raise InputError(
        f"{what} is not for functions, which only read an index: open it by its own URL and do it there; functions see the "
        "change within a second"
    )


class RefusesChanges:
    """Methods of `vsearch.Index` that are refused. All raise `vsearch.InputError`, whatever they are given."""

    def append(self, *_given: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.append`."""
        _refuse("append")

    def upsert(self, *_given: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.upsert`."""
        _refuse("upsert")

    def update(self, *_given: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.update`."""
        _refuse("update")

    def delete(self, *_given: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.delete`."""
        _refuse("delete")

    def add_column(self, *_given: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.add_column`."""
        _refuse("add_column")

    def drop_column(self, *_given: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.drop_column`."""
        _refuse("drop_column")

    def rename_column(self, *_given: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.rename_column`."""
        _refuse("rename_column")

    def optimize(self, *_given: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.optimize`."""
        _refuse("optimize")

    def retrain(self, *_given: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.retrain`."""
        _refuse("retrain")

    def tag(self, *_given: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.tag`."""
        _refuse("tag")

    def untag(self, *_given: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.untag`."""
        _refuse("untag")

    def tags(self) -> NoReturn:
        """Not for functions; see `vsearch.Index.tags`."""
        _refuse("tags")

    def changes(self, *_given: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.changes`."""
        _refuse("changes")

    def restore(self, *_given: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.restore`."""
        _refuse("restore")

    def refresh(self) -> NoReturn:
        """Not for functions, which look for the newest snapshot themselves; see `vsearch.Index.refresh`."""
        _refuse("refresh")
