"""Methods of `vsearch.Index` that are not available through functions."""

from __future__ import annotations

from typing import Any, NoReturn

from vsearch.errors import InputError


def _refuse(feature: str) -> NoReturn:
    raise InputError(
        f"{feature} is not available through functions: open the index by its own URL and do it there; functions see the change "
        "within a second"
    )


def _refuse_measuring(feature: str) -> NoReturn:
    raise InputError(f"{feature} is not available through functions: open the index by its own URL and measure there")


class RefusesChanges:
    """Methods of `vsearch.Index` that are refused. All raise `vsearch.InputError`."""

    def add_column(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.add_column`."""
        _refuse("add_column")

    def drop_column(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.drop_column`."""
        _refuse("drop_column")

    def rename_column(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.rename_column`."""
        _refuse("rename_column")

    def add_text(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.add_text`."""
        _refuse("add_text")

    def drop_text(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.drop_text`."""
        _refuse("drop_text")

    def add_sparse(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.add_sparse`."""
        _refuse("add_sparse")

    def with_encoder(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.with_encoder`."""
        _refuse("with_encoder")

    def retrain(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.retrain`."""
        _refuse("retrain")

    def tag(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.tag`."""
        _refuse("tag")

    def untag(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.untag`."""
        _refuse("untag")

    def tags(self) -> NoReturn:
        """Not for functions; see `vsearch.Index.tags`."""
        _refuse("tags")

    def changes(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.changes`."""
        _refuse("changes")

    def restore(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.restore`."""
        _refuse("restore")

    def refresh(self) -> NoReturn:
        """Not for functions, which look for the newest snapshot themselves; see `vsearch.Index.refresh`."""
        _refuse("refresh")

    def recall_curve(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.recall_curve`."""
        _refuse_measuring("recall_curve")

    def selectivity_curve(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.selectivity_curve`."""
        _refuse_measuring("selectivity_curve")

    def plot_recall(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.plot_recall`."""
        _refuse_measuring("plot_recall")

    def plot_selectivity(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.plot_selectivity`."""
        _refuse_measuring("plot_selectivity")

    def plot_partitions(self) -> NoReturn:
        """Not for functions; see `vsearch.Index.plot_partitions`."""
        _refuse_measuring("plot_partitions")

    def export(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for functions; see `vsearch.Index.export`."""
        raise InputError("export is not available through functions: open the index by its own URL and export it there")
