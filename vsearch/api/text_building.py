"""Building an index from texts, which are embedded by an encoder that is stored in the index."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from vsearch.building.inputs.embedding import TextTable, embed, signature
from vsearch.building.inputs.text_spool import TextSpool
from vsearch.building.pipeline import build_index
from vsearch.encoders.compressed import CompressedEncoder
from vsearch.encoders.compressing import compress
from vsearch.encoders.encoder import TextEncoder
from vsearch.encoders.loading import load
from vsearch.errors import IndexExistsError, InputError
from vsearch.live.attaching import write_encoder
from vsearch.storage import Manifest, Store, snapshot_numbers
from vsearch.storage.snapshots.kinds import ModelPart
from vsearch.storage.stores.scratch import scratch_folder

if TYPE_CHECKING:
    from vsearch.building.inputs.rows import InputArguments


def build_from_texts(
    store: Store,
    source: object,
    column: str | None,
    encoder: TextEncoder | str | os.PathLike[str] | None,
    spool: str | Path | None,
    *,
    arguments: InputArguments,
    overwrite: bool,
    tune_defaults: Callable[[Manifest], Manifest],
    progress: Callable[[str, int, int], None],
    **more: Any,
) -> Manifest:
    """Embed a column of texts and build an index of the vectors; see `vsearch.build`.

    Raises
    ------
    InputError
        The column or the encoder is missing or unusable, or an option applies to vectors only.
    IndexExistsError
        The store already contains an index and `overwrite` is false.
    """
    column, encoder = check_text_arguments(column, encoder, arguments)
    if not overwrite and snapshot_numbers(store):  # fail before hours of embedding
        raise IndexExistsError(
            f"{store.url} already holds an index; pass overwrite=True to replace it, or choose another location"
        )
    opened = encoder if isinstance(encoder, TextEncoder) else load(encoder)
    with scratch_folder() as scratch:
        texts = TextTable.open(source, column, Path(scratch))
        arguments = texts.without_vectors(arguments)
        folder = Path(spool) if spool is not None else _spool_folder(store) or Path(scratch) / "texts"
        with TextSpool(folder, signature(opened), opened.dimensions) as vectors:
            unusable, sample = embed(texts, opened, vectors, progress)

            def complete(built: Manifest) -> Manifest:
                attached = opened
                if not isinstance(attached, CompressedEncoder):
                    progress("compress", 0, 1)
                    attached = compress(opened, sample)
                    progress("compress", 1, 1)
                files = write_encoder(store, attached, built.writer)
                model = ModelPart.ENCODER.others(built.model) | files
                return tune_defaults(msgspec.structs.replace(built, model=model))

            manifest = build_index(
                store,
                vectors.read(),
                arguments=arguments,
                overwrite=overwrite,
                tune_defaults=complete,
                progress=progress,
                noted=unusable if unusable.rows else None,
                **more,
            )
            vectors.remove()
    return manifest


def check_text_arguments(
    column: str | None, encoder: TextEncoder | str | os.PathLike[str] | None, arguments: InputArguments
) -> tuple[str, TextEncoder | str | os.PathLike[str]]:
    """Return the column and the encoder of a build from texts.

    Raises
    ------
    InputError
        One of them is missing, or an option applies to vectors only.
    """
    if column is None or encoder is None:
        raise InputError("text_column and encoder must be passed together")
    if arguments.vectors is not None or arguments.packed:
        raise InputError("vectors and packed are for vectors, text_column for texts; pass only one of them")
    return column, encoder


def _spool_folder(store: Store) -> Path | None:
    """The default spool of an index in a folder; None for other stores."""
    url = store.url.removeprefix("file://")
    if "://" in url:
        return None
    folder = Path(url)
    return folder.with_name(f"{folder.name}.vectors")
