"""Sources named by the location of their files: a prefix of an object store, or a folder of files of vectors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vsearch.building.inputs.dask_collections import refuse_collection
from vsearch.building.inputs.prefix_files import VECTOR_FILES, is_url
from vsearch.building.inputs.prefix_reading import as_source
from vsearch.errors import InputError


def located(
    source: object, url: str | os.PathLike[str], chosen: Mapping[str, object] | None, storage: Mapping[str, object]
) -> object:
    """Open a source that is a URL, or a folder of files of vectors; anything else is returned unchanged.

    Parameters
    ----------
    source : object
    url : str or path
        Of the index.
    chosen : mapping or None
        Storage options of the source.
    storage : mapping
        Those of the index.

    Raises
    ------
    InputError
        There are storage options for a source that is not a URL, the files cannot be read, or it is a dask collection.
    """
    refuse_collection(source)
    if isinstance(source, str) and is_url(source):
        return as_source(source, source_options(source, url, chosen, storage))
    if chosen is not None:
        raise InputError("source_storage is only for embeddings given by a URL")
    if isinstance(source, (str, os.PathLike)) and _holds_vector_files(Path(source).expanduser()):
        return as_source(str(Path(source).expanduser()), {})
    return source


def source_options(
    source: str, url: str | os.PathLike[str], chosen: Mapping[str, object] | None, storage: Mapping[str, object]
) -> dict[str, object]:
    """Storage options of a source: those chosen, or those of the index if both have the same scheme."""
    if chosen is not None:
        return dict(chosen)
    alike = is_url(url) and source.partition("://")[0].lower() == str(url).partition("://")[0].lower()
    return dict(storage) if alike else {}


def _holds_vector_files(path: Path) -> bool:
    """Whether a path is a folder with files of vectors at its top."""
    return path.is_dir() and any(entry.suffix.lower() in VECTOR_FILES for entry in path.iterdir())
