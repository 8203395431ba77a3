"""Datasets of the library `datasets` (Hugging Face) as record batches, in memory, mapped from files or streamed; does not import it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 4096
"""Rows read at a time."""


def is_dataset(value: object) -> bool:
    """Whether `value` is a `datasets.Dataset`, `IterableDataset`, a dict of these, or a column of one."""
    return type(value).__module__.partition(".")[0] == "datasets" and (
        _is_one(value) or _is_dict(value) or _is_column(value)
    )


def checked_dataset(dataset: Any, label: str) -> Any:
    """Return a dataset, or that of a column, with only this column.

    Raises
    ------
    InputError
        It is a dict of splits.
    """
    if _is_dict(dataset):
        splits = ", ".join(map(repr, dataset))[:200]
        raise InputError(f"{label}: a {type(dataset).__name__} has several splits ({splits}); pass one of them")
    if not _is_column(dataset):
        return dataset
    if not _is_one(dataset.source):
        raise InputError(f"{label}: nested columns of datasets are not supported; flatten() the dataset first")
    return dataset.source.select_columns([dataset.column_name])


def is_streamed(dataset: Any) -> bool:
    """Whether a dataset can be read only once with certainty, as its rows may be shuffled or generated anew."""
    return not hasattr(dataset, "__len__")


def dataset_schema(dataset: Any) -> pa.Schema | None:
    """Return the columns of a dataset; None if only its rows tell."""
    import pyarrow as pa

    if dataset.features is None:
        return None
    schema = dataset.features.arrow_schema
    return pa.schema([pa.field(field.name, _plain(field.type)) for field in schema])


def dataset_batches(dataset: Any, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a dataset, with some columns or all."""
    import pyarrow as pa

    chosen = dataset if names is None else dataset.select_columns(list(names))
    if dataset.features is None:
        for columns in chosen.with_format(None).iter(BATCH_ROWS):
            yield pa.RecordBatch.from_pydict(columns)
        return
    for table in chosen.with_format("arrow").iter(BATCH_ROWS):
        kept = table if names is None else table.select(list(names))
        arrays = [_storage(column) for column in kept.combine_chunks().columns]
        yield from pa.Table.from_arrays(arrays, names=kept.column_names).to_batches()


def _is_one(value: Any) -> bool:
    return hasattr(value, "with_format") and hasattr(value, "features")


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict) and hasattr(value, "with_format")


def _is_column(value: Any) -> bool:
    return hasattr(value, "source") and hasattr(value, "column_name")


def _plain(kind: Any) -> Any:
    """The type of the values of an extension type, such as that of an `Array2D`."""
    return kind.storage_type if hasattr(kind, "storage_type") else kind


def _storage(column: Any) -> Any:
    return column.cast(column.type.storage_type) if hasattr(column.type, "storage_type") else column
