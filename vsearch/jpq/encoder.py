"""Training of the query encoder with torch, with the same loss and live index; the encoder is stored in the index.

An encoder is a sentence-transformers model, or any torch module that takes a list of texts and returns their vectors
(m, d). The index stores a trained encoder as the files that ``safetensors`` and sentence-transformers write; nothing is
pickled.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.encoders.attached import read_attached
from vsearch.encoders.encoder import TextEncoder
from vsearch.encoders.entries import is_compressed
from vsearch.encoders.float_model import read_float_model
from vsearch.errors import CorruptIndexError, InputError, MissingDependencyError
from vsearch.jpq.mining import list_candidates, search_live
from vsearch.jpq.options import TrainOptions
from vsearch.jpq.pairs import read_pairs
from vsearch.jpq.publish import publish
from vsearch.jpq.quality import measure
from vsearch.jpq.scoring import Documents, Parameters, batch_loss, load_documents
from vsearch.jpq.trainer import MEASURED, IndexT, Searchable, Session, split_validation
from vsearch.search.state.model import plain_queries
from vsearch.storage import FileEntry, SegmentFile, Store, discarded_on_failure, probe, write_arrays
from vsearch.storage.snapshots.kinds import ModelPart
from vsearch.storage.stores.scratch import scratch_folder
from vsearch.training.libraries import import_torch
from vsearch.training.rates import schedule

ENCODER_RATE, ENCODER_DECAY, CLIP = 2e-5, 0.01, 1.0
STATE = "state.safetensors"  # the file of a module that is not a sentence-transformers model
MODULES = "modules.json"  # lists the modules of a sentence-transformers model
LIBRARY = "sentence_transformers."  # prefix of the only classes that may be instantiated
FILE_KINDS = {".json", ".jinja", ".model", ".safetensors", ".txt"}  # none is unpickled or executed when loaded

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


def train_encoder(
    index: IndexT,
    encoder: Any,
    texts: Sequence[str],
    positives: Any,
    *,
    validation: tuple[Sequence[str], Any] | None = None,
    loss: str = "lambda",
    epochs: int = 1,
    centroids: bool = True,
    batch: int = 32,
    depth: int = 100,
    encoder_rate: float = ENCODER_RATE,
    learning_rate: float = 1.0,
    patience: int = 2,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> IndexT:
    """Train a query encoder and the centroids of an index jointly, and commit both as a new snapshot.

    Parameters
    ----------
    index : Index
        Built with ``quantizer="pq"`` and no rerank codes.
    encoder : sentence_transformers.SentenceTransformer or torch.nn.Module
        A module takes a list of texts and returns a tensor (m, d). Trained in place.
    texts : sequence of str
        Training queries.
    positives
        As in `train`.
    validation : (texts, positives), optional
        A tenth of the training queries by default.
    loss, epochs, batch, depth, learning_rate, patience, seed, progress
        As in `train`; `learning_rate` is a multiple of the default rate of the centroids.
    centroids : bool
        Whether to train the centroids too.
    encoder_rate : float
        Learning rate of the encoder.

    Returns
    -------
    Index
        Its `search` takes texts; `load_encoder` returns the encoder.

    Raises
    ------
    InputError, ConflictError
        As in `train`.
    MissingDependencyError
        torch is not installed.
    """
    torch = import_torch()
    options = TrainOptions(
        loss=loss,
        epochs=epochs,
        adapter="linear",
        centroids=centroids,
        batch=batch,
        depth=depth,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
    )
    if isinstance(encoder_rate, bool) or not isinstance(encoder_rate, (int, float)) or not 0 < encoder_rate <= 1:
        raise InputError(f"encoder_rate must be above 0 and at most 1, such as {ENCODER_RATE:g}, got {encoder_rate!r}")
    documents = load_documents(index.snapshot)
    queries = _check(encoder, texts)
    torch.manual_seed(seed)
    # every step encodes its queries again; these vectors only check that the encoder matches the index
    pairs = read_pairs(index.snapshot, encode_all(encoder, queries), positives)
    if validation is None:
        training, held_out = split_validation(pairs, seed)
        held_texts = [queries[i] for i in held_out.numbers]
    else:
        training, held_texts = pairs, _check(encoder, validation[0])
        held_out = read_pairs(index.snapshot, encode_all(encoder, held_texts), validation[1], "validation")
        held_texts = [held_texts[i] for i in held_out.numbers]
    report = progress or (lambda *_: None)
    probe(index.snapshot.store)
    session = Session(documents, training, held_out, options, report)
    now = documents.start()
    sharpness, (optimizer, _) = session.sharpness(now), session.optimizers(now)
    encoder_optimizer = torch.optim.AdamW(encoder.parameters(), lr=encoder_rate, weight_decay=ENCODER_DECAY)
    history = [_measure(documents, now, encoder, held_texts, held_out.padded())]
    best, best_epoch, best_state = now, 0, copy.deepcopy(encoder.state_dict())
    batches = max(1, len(training) // batch)
    step = 0
    for epoch in range(epochs):
        order = np.random.default_rng([seed, 2, epoch]).permutation(len(training))
        stage = f"epoch {epoch + 1} of {epochs}, nDCG@10 {history[-1]['ndcg@10']:.4f}"
        encoder.train()
        for number, chosen in enumerate(np.array_split(order, batches)):
            examples, step = training.take(chosen), step + 1
            share = schedule(step, epochs * batches)
            vectors = _normalize_or_center(documents, _forward(encoder, [queries[i] for i in examples.numbers]))
            examples = replace(examples, queries=np.ascontiguousarray(vectors.detach().cpu().numpy(), np.float32))
            lists = list_candidates(search_live(documents, now, examples.queries, depth), examples)
            _, gradients = batch_loss(documents, now, examples.queries, lists, loss=loss, sharpness=sharpness)
            for group in encoder_optimizer.param_groups:
                group["lr"] = encoder_rate * share
            encoder_optimizer.zero_grad()
            vectors.backward(torch.from_numpy(gradients.queries).to(vectors))
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), CLIP)
            encoder_optimizer.step()
            if centroids:
                moved = optimizer.update(now.centroids, gradients.centroids, step, share)
                now = Parameters(moved, now.adapter)
            report(stage, number + 1, batches)
        history.append(_measure(documents, now, encoder, held_texts, held_out.padded()))
        if history[-1]["ndcg@10"] > max(measures["ndcg@10"] for measures in history[:-1]):
            best, best_epoch, best_state = now, epoch + 1, copy.deepcopy(encoder.state_dict())
        elif epoch + 1 - best_epoch >= patience:
            break
    encoder.load_state_dict(best_state)
    facts = session.facts_of(best_epoch, history) | {"encoder": type(encoder).__name__, "encoder_rate": encoder_rate}
    tuning = plain_queries(index.snapshot.model, encode_all(encoder, [queries[i] for i in training.numbers[:1024]]))
    store, writer = index.snapshot.store, uuid.uuid4().hex
    with discarded_on_failure(store, writer):
        files = write_encoder(store, encoder, writer)
    return type(index)(publish(documents.live(best), index.snapshot, facts, tuning, writer, files))


def load_encoder(index: Searchable, module: Any = None) -> Encode:
    """Load the query encoder stored in an index, as a function of texts.

    Parameters
    ----------
    index : Index
    module : torch.nn.Module, optional
        For an encoder that is not a sentence-transformers model: a module of the same architecture, into which the weights are
        loaded. A compressed encoder needs none.

    Returns
    -------
    callable
        Maps texts to vectors, float32 (m, d), for `Index.search`.

    Raises
    ------
    InputError
        The index has no encoder, or `module` does not match it.
    MissingDependencyError
        torch or sentence-transformers is not installed, and the encoder is neither a compressed one nor a BERT of
        sentence-transformers, which NumPy can run.
    """
    entries = ModelPart.ENCODER.files(index.snapshot.manifest.model)
    if is_compressed(entries):
        return TextEncoder(read_attached(index.snapshot.store, entries, index.snapshot.manifest.snapshot)).encode
    files = _read_encoder(index)
    try:
        import_torch()
    except MissingDependencyError:
        if STATE in files:
            raise
        return TextEncoder(read_float_model(files)).encode  # slower, and only for BERT
    if STATE in files:
        from safetensors.torch import load

        if module is None:
            raise InputError(
                "the encoder of this index is a torch module; pass a `module` of the same architecture to load_encoder"
            )
        try:
            module.load_state_dict(load(files[STATE]))
        except RuntimeError as error:
            raise InputError(f"the module does not match the encoder of this index: {error}") from error
        model = module
    else:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingDependencyError(
                "this encoder needs sentence-transformers: pip install 'vsearch[torch]'"
            ) from error
        with scratch_folder() as folder:
            for name, data in files.items():
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            model = SentenceTransformer(folder, device="cpu", local_files_only=True, trust_remote_code=False)
    return lambda texts: encode_all(model, list(texts))


def encode_all(encoder: Any, texts: Sequence[str], batch: int = 64) -> NDArray[np.float32]:
    """Encode texts to vectors, float32 (m, d), without gradients or dropout."""
    torch = import_torch()
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # similar lengths need the least padding
            parts = [
                _forward(encoder, [texts[i] for i in order[start : start + batch]]).cpu().numpy()
                for start in range(0, len(order), batch)
            ]
    finally:
        encoder.train(training)
    if not parts:
        raise InputError("texts must contain at least one text")
    vectors = np.concatenate(parts).astype(np.float32)
    in_input_order = np.empty_like(vectors)
    in_input_order[order] = vectors
    return in_input_order


def _check(encoder: Any, texts: Sequence[str]) -> list[str]:
    """Return the texts as a list; raise InputError if they or the encoder are invalid."""
    if not (hasattr(encoder, "state_dict") and callable(encoder)):
        raise InputError(
            "encoder must be a sentence-transformers model or a torch module that takes texts, "
            f"got {type(encoder).__name__}"
        )
    if hasattr(encoder, "tokenize"):
        foreign = [type(part).__name__ for part in encoder.children() if not type(part).__module__.startswith(LIBRARY)]
        if foreign:
            raise InputError(
                f"the encoder has modules that are not part of sentence-transformers and could not be loaded again: "
                f"{', '.join(foreign)}; wrap the model in a torch module that takes a list of texts"
            )
    queries = [] if isinstance(texts, str) else list(texts)
    if not queries or not all(isinstance(text, str) for text in queries):
        raise InputError("texts must be a non-empty sequence of strings, one per query")
    return queries


def write_encoder(store: Store, encoder: Any, writer: str) -> dict[str, FileEntry]:
    """Write an encoder's files next to the model of an index; return them by their kinds in the manifest."""
    if hasattr(encoder, "tokenize") and hasattr(encoder, "save"):
        with scratch_folder() as folder:
            encoder.save(folder, create_model_card=False)
            files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}
    else:
        from safetensors.torch import save

        files = {STATE: save({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()})}
    entries = {}
    for number, (path, data) in enumerate(files.items()):
        array = np.frombuffer(data or b"\n", np.uint8)
        entry, _ = write_arrays(store, f"model/{writer}-encoder-{number}.arrow", {"bytes": array})
        entries[ModelPart.ENCODER.kind(path)] = entry
    return entries


def _read_encoder(index: Searchable) -> dict[str, bytes]:
    snapshot = index.snapshot
    entries = ModelPart.ENCODER.files(snapshot.manifest.model)
    if not entries:
        raise InputError("the index has no query encoder; train one with vsearch.jpq.train_encoder")
    files = {}
    for name, entry in entries.items():
        parts = Path(name).parts
        if Path(name).is_absolute() or ".." in parts or not parts:
            raise CorruptIndexError(
                "manifest", f"names an encoder file {name!r}, which is not a valid relative path; restore the manifest"
            )
        if Path(name).suffix not in FILE_KINDS:
            raise CorruptIndexError(
                "manifest", f"names an encoder file {name!r}, of a type that could run code; train the encoder again"
            )
        file = SegmentFile(snapshot.store, entry, None, snapshot.manifest.snapshot)
        file.ensure_all()
        files[name] = file.array("bytes").tobytes()
    if MODULES in files:
        _check_modules(entries[MODULES].path, files[MODULES])
    return files


def _check_modules(path: str, data: bytes) -> None:
    """Reject a model with modules from outside sentence-transformers: loading it would import their classes."""
    try:
        kinds = [str(module["type"]) for module in json.loads(data)]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptIndexError(
            path, f"is not a list of an encoder's modules ({error}); restore it from a copy"
        ) from error
    foreign = [kind for kind in kinds if not kind.startswith(LIBRARY)]
    if foreign:
        raise CorruptIndexError(
            path, f"names modules from outside sentence-transformers: {', '.join(foreign)}; train the encoder again"
        )


def _forward(encoder: Any, texts: list[str]) -> Any:
    """Encode texts to vectors (m, d), with gradients."""
    if not hasattr(encoder, "tokenize"):
        return encoder(texts)
    prepare = getattr(encoder, "preprocess", encoder.tokenize)  # renamed in sentence-transformers 5.4
    features = {
        name: value.to(encoder.device) if hasattr(value, "to") else value for name, value in prepare(texts).items()
    }
    return encoder(features)["sentence_embedding"]


def _normalize_or_center(documents: Documents, vectors: Any) -> Any:
    """As `plain_queries`, with gradients."""
    torch = import_torch()
    model = documents.snapshot.model
    if model.metric == "cosine":
        return torch.nn.functional.normalize(vectors, dim=1)
    return vectors - torch.from_numpy(model.mean.copy()) if model.metric == "l2" else vectors


def _measure(
    documents: Documents, parameters: Parameters, encoder: Any, texts: Sequence[str], relevant: NDArray[np.int64]
) -> dict[str, float]:
    queries = plain_queries(documents.snapshot.model, encode_all(encoder, texts))
    return measure(search_live(documents, parameters, queries, MEASURED), relevant).means()
