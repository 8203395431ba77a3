"""Training the query encoder itself, with torch: same loss, same live index, and kept inside the index.

An encoder is a sentence-transformers model, or any torch module that takes a list of texts and returns their vectors
(m, d). The index keeps a trained one as the files that ``safetensors`` and sentence-transformers write; nothing is pickled.
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

from vsearch.encoders.attached import is_compressed, read_attached
from vsearch.encoders.encoder import TextEncoder
from vsearch.encoders.float_model import read_float_model
from vsearch.errors import CorruptIndexError, InputError, MissingDependencyError
from vsearch.jpq.mining import list_candidates, search_live
from vsearch.jpq.optimizer import schedule
from vsearch.jpq.pairs import read_pairs
from vsearch.jpq.publish import publish
from vsearch.jpq.quality import measure
from vsearch.jpq.scoring import Documents, Parameters, batch_loss, load_documents
from vsearch.jpq.trainer import MEASURED, IndexT, Searchable, Session, TrainOptions, split_validation
from vsearch.search.state.model import plain_queries
from vsearch.storage import FileEntry, SegmentFile, Store, discarded_on_failure, probe, write_arrays
from vsearch.storage.snapshots.kinds import ModelPart
from vsearch.storage.stores.scratch import scratch_folder

ENCODER_RATE, ENCODER_DECAY, CLIP = 2e-5, 0.01, 1.0
STATE = "state.safetensors"  # the file of a module that is no sentence-transformers model
MODULES, LIBRARY = (
    "modules.json",
    "sentence_transformers.",
)  # what a model consists of, and whose code alone may make it
FILE_KINDS = {".json", ".jinja", ".model", ".safetensors", ".txt"}  # nothing that is unpickled or run when it is read

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
    """Train a query encoder and the centroids of an index together; the result is a new snapshot that holds both.

    Parameters
    ----------
    index : Index
        Built with ``quantizer="pq"`` and no rerank codes.
    encoder : sentence_transformers.SentenceTransformer or torch.nn.Module
        A module takes a list of texts and returns a tensor (m, d). It is trained in place.
    texts : sequence of str
        Training queries.
    positives
        As `train` takes them.
    validation : (texts, positives), optional
        A tenth of the training queries by default.
    loss, epochs, batch, depth, learning_rate, patience, seed, progress
        As in `train`; `learning_rate` is a multiple of the default rate of the centroids.
    centroids : bool
        Whether the centroids are trained too.
    encoder_rate : float
        Learning rate of the encoder.

    Returns
    -------
    Index
        Its `search` takes texts, and `load_encoder` gives the encoder back.

    Raises
    ------
    InputError, ConflictError
        As in `train`.
    MissingDependencyError
        torch is not installed.
    """
    torch = _torch()
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
        raise InputError(f"encoder_rate must be a number above 0, such as {ENCODER_RATE:g}, got {encoder_rate!r}")
    documents = load_documents(index.snapshot)
    queries = _check(encoder, texts)
    torch.manual_seed(seed)
    # the vectors are made again in every step; here they only tell that the encoder fits the index
    pairs = read_pairs(index.snapshot, encode_all(encoder, queries), positives)
    if validation is None:
        training, held = split_validation(pairs, seed)
        held_texts = [queries[i] for i in held.numbers]
    else:
        training, held_texts = pairs, _check(encoder, validation[0])
        held = read_pairs(index.snapshot, encode_all(encoder, held_texts), validation[1], "validation")
        held_texts = [held_texts[i] for i in held.numbers]
    report = progress or (lambda *_: None)
    probe(index.snapshot.store)
    session = Session(documents, training, held, options, report)
    now = documents.start()
    sharpness, (optimizer, _) = session.sharpness(now), session.optimizers(now)
    own = torch.optim.AdamW(encoder.parameters(), lr=encoder_rate, weight_decay=ENCODER_DECAY)
    history = [_measure(documents, now, encoder, held_texts, held.padded())]
    best, best_epoch, best_state = now, 0, copy.deepcopy(encoder.state_dict())
    batches = max(1, len(training) // batch)
    step = 0
    for epoch in range(epochs):
        order = np.random.default_rng([seed, 2, epoch]).permutation(len(training))
        stage = f"epoch {epoch + 1} of {epochs}, nDCG@10 {history[-1]['ndcg@10']:.4f}"
        encoder.train()
        for number, chosen in enumerate(np.array_split(order, batches)):
            some, step = training.take(chosen), step + 1
            share = schedule(step, epochs * batches)
            vectors = _as_the_metric_asks(documents, _forward(encoder, [queries[i] for i in some.numbers]))
            some = replace(some, queries=np.ascontiguousarray(vectors.detach().cpu().numpy(), np.float32))
            lists = list_candidates(search_live(documents, now, some.queries, depth), some)
            _, gradients = batch_loss(documents, now, some.queries, lists, loss=loss, sharpness=sharpness)
            for group in own.param_groups:
                group["lr"] = encoder_rate * share
            own.zero_grad()
            vectors.backward(torch.from_numpy(gradients.queries).to(vectors))
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), CLIP)
            own.step()
            if centroids:
                moved = optimizer.update(now.centroids, gradients.centroids, step, share)
                now = Parameters(moved, now.adapter)
            report(stage, number + 1, batches)
        history.append(_measure(documents, now, encoder, held_texts, held.padded()))
        if history[-1]["ndcg@10"] > max(one["ndcg@10"] for one in history[:-1]):
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
    """The query encoder that an index holds, as a function of texts.

    Parameters
    ----------
    index : Index
    module : torch.nn.Module, optional
        For an encoder that is no sentence-transformers model: a module of the same make, which the weights are loaded into.
        A compressed encoder needs none.

    Returns
    -------
    callable
        Texts to vectors float32 (m, d), which `Index.search` takes.

    Raises
    ------
    InputError
        The index holds no encoder, or `module` does not fit it.
    MissingDependencyError
        torch or sentence-transformers is not installed, and the encoder is neither a compressed one nor a BERT of
        sentence-transformers, which NumPy can run.
    """
    entries = ModelPart.ENCODER.files(index.snapshot.manifest.model)
    if is_compressed(entries):
        return read_attached(index.snapshot.store, entries, index.snapshot.manifest.snapshot).encode
    files = _read_encoder(index)
    try:
        _torch()
    except MissingDependencyError:
        if STATE in files:
            raise
        return TextEncoder(read_float_model(files)).encode  # slower, and of BERT alone
    if STATE in files:
        from safetensors.torch import load

        if module is None:
            raise InputError(
                "the encoder of this index is a module of your own: give `module`, one of the same make, to load_encoder"
            )
        try:
            module.load_state_dict(load(files[STATE]))
        except RuntimeError as error:
            raise InputError(f"the module does not fit the encoder of this index: {error}") from error
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
    """Vectors float32 (m, d) of texts; no gradients, no dropout."""
    torch = _torch()
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # texts of one length are padded least
            parts = [
                _forward(encoder, [texts[i] for i in order[start : start + batch]]).cpu().numpy()
                for start in range(0, len(order), batch)
            ]
    finally:
        encoder.train(training)
    if not parts:
        raise InputError("there are no texts")
    vectors = np.concatenate(parts).astype(np.float32)
    back = np.empty_like(vectors)
    back[order] = vectors
    return back


def _check(encoder: Any, texts: Sequence[str]) -> list[str]:
    """The texts as a list; raises InputError where they or the encoder cannot be used."""
    if not (hasattr(encoder, "state_dict") and callable(encoder)):
        raise InputError(
            f"the encoder is a {type(encoder).__name__}; give a sentence-transformers model or a torch module of texts"
        )
    if hasattr(encoder, "tokenize"):
        foreign = [type(part).__name__ for part in encoder.children() if not type(part).__module__.startswith(LIBRARY)]
        if foreign:
            raise InputError(
                f"the parts {', '.join(foreign)} are not sentence-transformers' own and could not be loaded again; "
                "wrap the model into a torch module that takes a list of texts"
            )
    queries = [] if isinstance(texts, str) else list(texts)
    if not queries or not all(isinstance(text, str) for text in queries):
        raise InputError("texts must be a sequence of strings, one for each query")
    return queries


def write_encoder(store: Store, encoder: Any, writer: str) -> dict[str, FileEntry]:
    """Write an encoder beside the model of an index; by the kinds that the manifest names them with."""
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
        raise InputError("the index holds no query encoder; train one with vsearch.jpq.train_encoder")
    files = {}
    for name, entry in entries.items():
        parts = Path(name).parts
        if Path(name).is_absolute() or ".." in parts or not parts:
            raise CorruptIndexError(
                "manifest", f"names an encoder file {name!r}, which lies nowhere; restore the manifest"
            )
        if Path(name).suffix not in FILE_KINDS:
            raise CorruptIndexError(
                "manifest", f"names an encoder file {name!r}, of a kind that could run code; train the encoder again"
            )
        file = SegmentFile(snapshot.store, entry, None, snapshot.manifest.snapshot)
        file.ensure_all()
        files[name] = file.array("bytes").tobytes()
    if MODULES in files:
        _check_modules(entries[MODULES].path, files[MODULES])
    return files


def _check_modules(path: str, data: bytes) -> None:
    """Refuse a model that is made of anything but sentence-transformers' own parts: their classes would be imported."""
    try:
        kinds = [str(one["type"]) for one in json.loads(data)]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptIndexError(path, f"is no list of an encoder's parts ({error}); restore it from a copy") from error
    foreign = [kind for kind in kinds if not kind.startswith(LIBRARY)]
    if foreign:
        raise CorruptIndexError(
            path, f"names parts that are not sentence-transformers' own: {', '.join(foreign)}; train the encoder again"
        )


def _forward(encoder: Any, texts: list[str]) -> Any:
    """Vectors (m, d) of texts, with their gradients."""
    if not hasattr(encoder, "tokenize"):
        return encoder(texts)
    prepare = getattr(encoder, "preprocess", encoder.tokenize)  # its name from sentence-transformers 5.4 on
    features = {
        name: value.to(encoder.device) if hasattr(value, "to") else value for name, value in prepare(texts).items()
    }
    return encoder(features)["sentence_embedding"]


def _as_the_metric_asks(documents: Documents, vectors: Any) -> Any:
    """What `plain_queries` does, with gradients."""
    torch = _torch()
    model = documents.snapshot.model
    if model.metric == "cosine":
        return torch.nn.functional.normalize(vectors, dim=1)
    return vectors - torch.from_numpy(model.mean.copy()) if model.metric == "l2" else vectors


def _measure(
    documents: Documents, parameters: Parameters, encoder: Any, texts: Sequence[str], relevant: NDArray[np.int64]
) -> dict[str, float]:
    queries = plain_queries(documents.snapshot.model, encode_all(encoder, texts))
    return measure(search_live(documents, parameters, queries, MEASURED), relevant).means()


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("training an encoder needs torch: pip install 'vsearch[torch]'") from error
    return torch
