"""Building an index of multi-vector documents, in this process or on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from vsearch.api.built import tune_built_documents
from vsearch.errors import InputError
from vsearch.storage import open_store

if TYPE_CHECKING:
    import os

    from vsearch.building.inputs.rows import InputArguments
    from vsearch.building.pipeline import Progress
    from vsearch.multivector.training import DocumentOptions
    from vsearch.storage import Manifest, Store


def build_from_documents(
    vectors: object,
    offsets: object | None,
    out: str | os.PathLike[str],
    *,
    saliency: object | None,
    arguments: InputArguments,
    options: DocumentOptions,
    overwrite: bool,
    progress: Progress,
    storage: dict[str, object],
) -> tuple[Store, Manifest]:
    """Build and commit the index; see `vsearch.build_documents`.

    Parameters
    ----------
    storage : dict
        Options of the store, and ``client`` and ``source_storage``, if they are passed.
    """
    client, source_storage = storage.pop("client", None), storage.pop("source_storage", None)
    store = open_store(out, **storage)
    if client is not None:
        from vsearch.api.cluster_building import build_documents_on_cluster

        return store, build_documents_on_cluster(
            store,
            vectors,
            arguments,
            options,
            client=client,
            more={"offsets": offsets, "saliency": saliency},
            storage=storage,
            source_storage=cast("Mapping[str, object] | None", source_storage),
            overwrite=overwrite,
            progress=progress,
        )
    if source_storage is not None:
        raise InputError("source_storage is only available with client=")
    from vsearch.multivector.build import build_document_index

    return store, build_document_index(
        store,
        vectors,
        offsets,
        saliency=saliency,
        arguments=arguments,
        options=options,
        overwrite=overwrite,
        tune_defaults=lambda made, queries: tune_built_documents(store, made, queries, progress),
        progress=progress,
    )
