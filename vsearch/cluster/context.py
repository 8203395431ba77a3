"""The context of a task: the stores and the plan of its job, and the results of earlier stages. Tasks of one process share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.building.pipeline import manifest_of
from vsearch.building.steps import training_rows
from vsearch.building.training import BuildOptions, Trained
from vsearch.cluster.document_rows import StoredDocuments
from vsearch.cluster.encoding_results import Attached, DocumentCodec, Numbered
from vsearch.cluster.job import Based, Dealt, Job, Plan, TrainedFiles
from vsearch.cluster.leg_parts import legs_of_index, legs_of_job
from vsearch.cluster.outputs import Outputs
from vsearch.cluster.source import SourceRows, open_source
from vsearch.cluster.stored_rows import StoredRows
from vsearch.cluster.text_rows import TextRows, encoder_files
from vsearch.encoders.loading import read_files
from vsearch.errors import CorruptIndexError
from vsearch.forking import cached_property
from vsearch.multivector.build import documents_entry
from vsearch.multivector.codec import TokenCodec, load_token_codec
from vsearch.multivector.fde import FixedEncoding, load_fde
from vsearch.quantizers.registry import load_quantizer
from vsearch.search.state.model import Model
from vsearch.search.state.model_reading import read_model
from vsearch.search.state.snapshot import Snapshot, open_snapshot
from vsearch.storage import Manifest, ShardEntry, Store, open_store
from vsearch.storage.files.naming import manifest_path
from vsearch.storage.snapshots.manifest import decode_manifest

if TYPE_CHECKING:
    from vsearch.building.shards import PartWriter
    from vsearch.encoders.encoder import TextEncoder


class Place(msgspec.Struct, frozen=True):
    """The location of a job: URL and storage options of the index, storage options of the source, id and generation of the job."""

    url: str
    storage: dict[str, Any]
    source_storage: dict[str, Any]
    job: str
    generation: str


@dataclass(frozen=True, eq=False)
class Context:
    """A job, as seen by its tasks.

    Attributes
    ----------
    store : Store
        Store of the index.
    source_storage : mapping
    job_id : str
    """

    store: Store
    source_storage: Mapping[str, Any]
    job_id: str

    @property
    def outputs(self) -> Outputs:
        """The objects of the job; a new instance for each run of a task."""
        return Outputs(self.store, self.job_id)

    @cached_property
    def job(self) -> Job:
        """The job."""
        return self.outputs.begun().job

    @cached_property
    def options(self) -> BuildOptions:
        """Options of the build; those of documents are complete once their codec is trained."""
        options = self.job.options.build_options()
        if self.job.documents is None:
            return options
        return replace(options, shards=self.outputs.read(DocumentCodec, "codec").shards)

    @cached_property
    def source(self) -> Store:
        """The location of the source."""
        return open_source(self.job, self.source_storage)

    @cached_property
    def plan(self) -> Plan:
        """The plan; available after the stage that makes it."""
        return self.outputs.read(Plan, "plan")

    @cached_property
    def draft_plan(self) -> Plan:
        """The plan of a build from texts or documents before these are encoded."""
        return self.outputs.read(Plan, "texts" if self.job.documents is None else "documents")

    @cached_property
    def documents(self) -> StoredDocuments:
        """The documents of a build, after their vectors are numbered."""
        outputs = self.outputs
        return StoredDocuments(outputs, outputs.read(Numbered, "number"))

    @cached_property
    def document_codecs(self) -> tuple[TokenCodec, FixedEncoding]:
        """The codec of the vectors of documents, and their encoding."""
        outputs = self.outputs
        result = outputs.read(DocumentCodec, "codec")
        arrays = {name: array for file in result.arrays for name, array in outputs.arrays(file).items()}
        return load_token_codec(result.patches, arrays), load_fde(arrays)

    @cached_property
    def encoder(self) -> TextEncoder:
        """The encoder of a build from texts."""
        return read_files(encoder_files(self.outputs))

    @cached_property
    def rows(self) -> SourceRows | StoredRows | TextRows:
        """The rows of the source; in a retraining, those of the index."""
        if self.job.texts is not None or self.job.documents is not None:
            return TextRows(SourceRows(self.source, self.plan), self.outputs)
        if self.job.kind == "retrain":
            based, snapshot = self.base(0)
            if based.positions is None:
                raise CorruptIndexError(self.outputs.record("base"), "names no rows; remove the job with prune")
            return StoredRows(snapshot, self.outputs, based.positions)
        return SourceRows(self.source, self.plan)

    @cached_property
    def chosen(self) -> NDArray[np.int64]:
        """The rows to train on."""
        return training_rows(self.plan.rows, self.plan.dimensions, self.options)

    @cached_property
    def trained(self) -> Trained:
        """The result of the training."""
        outputs = self.outputs
        trained_files = outputs.read(TrainedFiles, "train")
        arrays = {name: array for file in trained_files.files for name, array in outputs.arrays(file).items()}
        prefix = "quantizer."
        selected = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        quantizer = load_quantizer(trained_files.codec.name, trained_files.codec.configuration, selected)
        return Trained(arrays["centroids"], quantizer, arrays["mean"], arrays["rerank_weights"])

    @cached_property
    def dealt(self) -> Dealt:
        """The assignment of partitions to shards."""
        return self.outputs.read(Dealt, "deal")

    @cached_property
    def _bases(self) -> dict[int, tuple[Based, Snapshot]]:
        return {}

    def base(self, number: int) -> tuple[Based, Snapshot]:
        """The snapshot that a round of a change applies to, open; the newest one is kept open."""
        known = self._bases.get(number)
        if known is None:
            based = self.outputs.read(Based, "base", number)
            manifest = decode_manifest(manifest_path(based.snapshot), based.manifest)
            known = based, open_snapshot(self.store, manifest)
            self._bases.clear()
            self._bases[number] = known
        return known

    def manifest(self, writer: str, shards: Sequence[ShardEntry]) -> Manifest:
        """The manifest of the index with these shards, before its settings are tuned and it is committed."""
        dealt, plan = self.dealt, self.plan
        shape = dealt.edges[-1], plan.dimensions
        kind, attributes = plan.id_kind, self.rows.attributes
        files, described = dealt.model, dict[str, Any]()
        if self.job.texts is not None:
            files = files | self.outputs.read(Attached, "attach").files
        if self.job.documents is not None:
            files = files | self.outputs.read(DocumentCodec, "codec").model
            numbered, (codec, _) = self.documents.numbered, self.document_codecs
            described["documents"] = documents_entry(
                self.job.documents,
                codec,
                numbered.edges[-1],
                numbered.input_vectors,
                positions=self.has_positions,
            )
        described |= {part.name: part.entry() for part in self.legs}
        return manifest_of(
            writer, dealt.codec, shape, files, shards, self.options, kind, attributes, described, plan.skipped
        )

    @property
    def legs(self) -> tuple[PartWriter, ...]:
        """The writers of the legs of the index; their entries are complete once the weights of a build are read."""
        if self.job.kind == "retrain":
            return legs_of_index(self.base(0)[1].manifest)
        return legs_of_job(self.job.legs, self.outputs)

    @property
    def has_positions(self) -> bool:
        """Whether vectors of documents were merged, so that their positions are stored."""
        documents = self.job.documents
        return documents is not None and documents.pool is not None and documents.pool > 1

    @cached_property
    def model(self) -> Model:
        """The model of the index, as searches read it."""
        return read_model(self.store, self.manifest(self.job_id, ()))


def open_context(place: Place) -> Context:
    """Return the context of a job, which is cached per process."""
    return _contexts(msgspec.json.encode(place, order="deterministic"))


@lru_cache(maxsize=2)
def _contexts(encoded: bytes) -> Context:
    place = msgspec.json.decode(encoded, type=Place)
    context = Context(open_store(place.url, **place.storage), place.source_storage, place.job)
    if context.outputs.begun().generation != place.generation:
        raise FileNotFoundError(f"job {place.job} was finished or removed")
    return context
