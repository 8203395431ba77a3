"""Train a compressed encoder with torch, so that its query vectors stay close to the vectors in an index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.encoders.bert import PRODUCTS
from vsearch.encoders.compressed import CompressedEncoder
from vsearch.encoders.compressing import read_source
from vsearch.encoders.encoder import check_texts
from vsearch.encoders.presets import find_preset
from vsearch.encoders.pruning import choose_layers, keep_layers
from vsearch.encoders.quantizing import assemble, product_name, quantize, select_texts, tokenize, uniform_bits
from vsearch.encoders.report import EncoderReport
from vsearch.encoders.torch_layers import Batch, LearnedProduct, TorchEncoder
from vsearch.encoders.writing import part_bytes
from vsearch.errors import InputError
from vsearch.training.checkpoint import load_checkpoint, save_checkpoint
from vsearch.training.libraries import import_torch
from vsearch.training.rates import schedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.encoders.bert import Bert, Linear
    from vsearch.encoders.presets import Preset
    from vsearch.encoders.torch_layers import Outputs, Tensor

    Progress = Callable[[str, int, int], None]

CLIP = 1.0
"""Largest norm of the gradients."""

SCALE_RATE = 20
"""Learning rate of the scales of groups, which are relative, as a multiple of that of weights."""

MEASUREMENTS = 10
"""Number of times that the similarity on the holdout is measured and a checkpoint is written."""

HELD_OUT, MOST_HELD_OUT = 0.1, 500
"""Fraction of the texts that are held out by default, and their maximum number."""

TOGETHER = 8
"""Batches whose texts are sorted by length together, so that a batch has little padding."""

MOST_STEPS = 10_000_000


@dataclass(frozen=True, eq=False)
class _Run:
    """A training: the model, its targets, and its texts."""

    source: Bert[Linear]
    student: Bert[Linear]
    kept: tuple[int, ...]
    preset: Preset
    texts: list[list[int]]
    targets: NDArray[np.float32] | None
    held_out: list[list[int]]
    held_targets: NDArray[np.float32]
    steps: int
    batch: int
    seed: int


def distill(
    model: Any,
    texts: Sequence[str],
    *,
    preset: str,
    vectors: NDArray[np.float32] | None = None,
    holdout: Sequence[str] | None = None,
    layers: int | Sequence[int] | None = None,
    steps: int = 2000,
    batch: int = 32,
    rate: float | None = None,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> CompressedEncoder:
    """Compress a text encoder, and train it to reproduce the vectors of the model for queries; requires torch.

    The vectors of documents need not change. Training starts from the result of `compress`. It updates the weights, scales of groups
    or steps of rows, biases and normalizations of the layers, with inputs and weights rounded as in the result. The loss is 1 minus
    the cosine similarity to the model's vectors, plus a term for what the preset compares of each layer, which decreases to 0.

    Parameters
    ----------
    model : path, TextEncoder or SentenceTransformer
        As for `compress`.
    texts : sequence of str
        Training texts that resemble queries, the more the better. The model's prompt for queries is prepended.
    preset : {"sdq8", "mkq4", "xtc-ternary"}
        8 bits and noise in training (SDQ); 4 bits with learned scales (MKQ-BERT); ternary weights in half of the layers (XTC). See
        `Preset` for what each does.
    vectors : float32 (m, dimensions), optional
        Target vectors of the texts, such as those in an index; by default those of the model.
    holdout : sequence of str, optional
        Texts by which the best state is chosen and measured; by default a tenth of the texts, which are then not trained on.
    layers : int or sequence of int, optional
        As for `compress`, in place of the number of layers of the preset.
    steps, batch : int
        Number of batches and texts per batch.
    rate : float, optional
        Highest learning rate, in place of that of the preset.
    checkpoint : path, optional
        File in which the state is kept ten times during the training. If it exists, the training continues where it ended.
    seed : int
        Seed of the order of the texts. The same arguments yield the same encoder on the same machine with one thread.
    progress : callable, optional
        Called with ``(stage, done, total)``.

    Returns
    -------
    CompressedEncoder
        In the state with the largest mean cosine on the holdout, which may be the one before training.

    Raises
    ------
    InputError
        An argument is invalid, or the checkpoint belongs to another training.
    MissingDependencyError
        torch is not installed.

    Notes
    -----
    The token table is compressed without training. Activations always have 8 bits, also where a publication has 4.
    """
    torch = import_torch()
    chosen = find_preset(preset)
    if rate is not None:
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise InputError(f"rate must be above 0 and at most 1, such as {chosen.rate:g}, got {rate!r}")
        chosen = replace(chosen, rate=float(rate))
    for name, value, most in (("steps", steps, MOST_STEPS), ("batch", batch, 65_536)):
        if type(value) is not int or not 1 <= value <= most:
            raise InputError(f"{name} must be an integer from 1 to {most}, got {value!r}")
    if type(seed) is not int or seed < 0:
        raise InputError(f"seed must be an integer from 0, got {seed!r}")
    source = read_source(model)
    run, held_out = _prepare(source, chosen, check_texts(texts), vectors, holdout, layers, steps, batch, seed)
    calibration = tokenize(run.student, select_texts(run.student, check_texts(texts)))
    bits = uniform_bits(run.student, chosen.weights, chosen.table)
    start = quantize(run.student, calibration, bits)
    learned = {
        (number, name): LearnedProduct(layer.product(name), start.layers[number].product(name), chosen.weights)
        for number, layer in enumerate(run.student.layers)
        for name in PRODUCTS
    }
    encoder = TorchEncoder(run.student, learned, learns=True)
    embedding = replace(run.student, table=start.table, positions=start.positions)
    trained = _Training(torch, run, encoder, embedding, progress or (lambda *_: None))
    trained.train(checkpoint)
    compressed = assemble(
        trained.with_norms(run.student),
        start.table,
        {product_name(*at): product.quantized() for at, product in learned.items()},
    )
    kept = run.kept if len(run.kept) < len(source.layers) else ()
    report = EncoderReport.measure(source, compressed, select_texts(source, held_out), part_bytes(compressed), kept)
    return CompressedEncoder(compressed, replace(report, preset=preset, steps=steps))


def _prepare(
    source: Bert[Linear],
    preset: Preset,
    texts: list[str],
    vectors: NDArray[np.float32] | None,
    holdout: Sequence[str] | None,
    layers: int | Sequence[int] | None,
    steps: int,
    batch: int,
    seed: int,
) -> tuple[_Run, list[str]]:
    """Check texts and vectors, choose layers, and split off the holdout; returns its texts too."""
    if len(texts) < 2:
        raise InputError(f"texts must contain at least 2 texts, got {len(texts)}")
    targets = None if vectors is None else np.ascontiguousarray(vectors, np.float32)
    shape = (len(texts), source.architecture.dimensions)
    if targets is not None and (targets.shape != shape or not np.isfinite(targets).all()):
        raise InputError(f"vectors must be finite, of the shape {shape}, got the shape {targets.shape}")
    order = np.arange(len(texts))
    held_out, held_rows = [] if holdout is None else check_texts(holdout), order[:0]
    if holdout is None:
        shuffled = np.random.default_rng([seed, 0]).permutation(len(texts))
        count = min(MOST_HELD_OUT, max(1, round(HELD_OUT * len(texts))))
        held_rows, order = np.sort(shuffled[:count]), np.sort(shuffled[count:])
        held_out = [texts[row] for row in held_rows]
    if not held_out:
        raise InputError("holdout must contain at least one text")
    ids, held_ids = tokenize(source, [texts[row] for row in order]), tokenize(source, held_out)
    if targets is None:
        teacher = TorchEncoder.of_floats(source)
        expected, held_expected = None, _embed(teacher, source, held_ids, batch)
    elif holdout is None:
        expected, held_expected = targets[order], targets[held_rows]
    else:
        expected, held_expected = targets, _embed(TorchEncoder.of_floats(source), source, held_ids, batch)
    count = preset.layers(len(source.layers))
    measured = tokenize(source, select_texts(source, texts))
    kept = choose_layers(source, measured, count if layers is None else layers)
    student = keep_layers(source, kept)
    return _Run(source, student, kept, preset, ids, expected, held_ids, held_expected, steps, batch, seed), held_out


def _embed(encoder: TorchEncoder, model: Bert[Any], texts: list[list[int]], batch: int) -> NDArray[np.float32]:
    """Return the vectors float32 (m, dimensions) of texts, of similar length together."""
    torch = import_torch()
    vectors = np.empty((len(texts), model.architecture.dimensions), np.float32)
    order = np.argsort([len(ids) for ids in texts], kind="stable")
    with torch.no_grad():
        for start in range(0, len(texts), batch):
            rows = order[start : start + batch]
            vectors[rows] = encoder.run(Batch.of(model, [texts[row] for row in rows])).vectors.numpy()
    return vectors


class _Training:
    """The state of a training: parameters, moments of the optimizer, and the best parameters so far."""

    def __init__(self, torch: Any, run: _Run, encoder: TorchEncoder, embedding: Bert[Any], report: Progress) -> None:
        from vsearch.encoders.torch_functions import multiplies_fast

        self._torch, self._run, self._encoder, self._embedding, self._report = torch, run, encoder, embedding, report
        self._teacher = TorchEncoder.of_floats(run.source)
        slow: dict[str, Tensor] = dict(encoder.norms)
        fast: dict[str, Tensor] = {}
        for at, product in encoder.products.items():
            for name, tensor in product.parameters().items():
                (fast if name in ("growth", "shift") else slow)[f"{product_name(*at)}.{name}"] = tensor
        self._parameters = slow | fast
        groups = [{"params": list(slow.values()), "share": 1}, {"params": list(fast.values()), "share": SCALE_RATE}]
        self._optimizer = torch.optim.Adam(groups, lr=run.preset.rate, fused=True)
        self._half = multiplies_fast()
        self._step, self._best = 0, -np.inf
        self._best_state: dict[str, NDArray[np.float32]] = {}

    def train(self, checkpoint: str | Path | None) -> None:
        """Train, from the checkpoint if it exists; leaves the parameters at their best."""
        run, mark = self._run, self._mark()
        state = None if checkpoint is None else load_checkpoint(checkpoint, mark)
        if state is None:
            self._measure()
        else:
            self._restore(state)
        every = max(1, -(-run.steps // MEASUREMENTS))
        while self._step < run.steps:
            self._learn(self._step)
            self._step += 1
            self._report(f"cosine {self._best:.4f}", self._step, run.steps)
            if self._step % every == 0 or self._step == run.steps:
                self._measure()
                if checkpoint is not None:
                    save_checkpoint(checkpoint, mark, self._plain())
        self._set(self._best_state)

    def with_norms(self, model: Bert[Linear]) -> Bert[Linear]:
        """Return the model with the trained normalizations."""
        norms = {name: tensor.detach().numpy().copy() for name, tensor in self._encoder.norms.items()}

        def trained(name: str, norm: Any) -> Any:
            return None if norm is None else type(norm)(norms[f"{name}.weight"], norms[f"{name}.bias"])

        layers = tuple(
            replace(
                layer,
                attention_norm=trained(f"{number}.attention", layer.attention_norm),
                output_norm=trained(f"{number}.output", layer.output_norm),
            )
            for number, layer in enumerate(model.layers)
        )
        embedding, final = trained("embedding", model.embedding_norm), trained("final", model.final_norm)
        return replace(model, layers=layers, embedding_norm=embedding, final_norm=final)

    def _learn(self, step: int) -> None:
        run, torch = self._run, self._torch
        rows = self._batch(step)
        texts = [run.texts[row] for row in rows]
        fade = run.preset.weight * (1 - step / run.steps)
        with torch.no_grad():
            expected = self._teacher.run(Batch.of(run.source, texts), half=self._half)
        targets = expected.vectors if run.targets is None else torch.from_numpy(run.targets[rows])
        batch = Batch.of(self._embedding, texts)
        outputs = self._encoder.run(batch, self._noise(step), half=self._half)
        loss = (1 - torch.nn.functional.cosine_similarity(outputs.vectors, targets, dim=-1)).mean()
        loss = loss + fade * self._layer_loss(batch, outputs, expected)
        share = schedule(step + 1, run.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = run.preset.rate * share * group["share"]
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), CLIP)
        self._optimizer.step()

    def _layer_loss(self, batch: Batch, outputs: Outputs, expected: Outputs) -> Tensor:
        """Return the mean difference between the kept layers and the same layers of the model, in what the preset compares."""
        functional, losses = self._torch.nn.functional, []
        for number, original in enumerate(self._run.kept):
            if self._run.preset.compared == "layers":
                student, teacher = outputs.layers[number][batch.known], expected.layers[original][batch.known]
                losses.append((student - teacher).square().sum() / teacher.square().sum())
            elif self._run.preset.compared == "attention":
                near = functional.cosine_similarity(outputs.attended[number], expected.attended[original], dim=-1)
                losses.append((1 - near)[batch.known].mean())
            else:
                teacher, student = expected.shares[original], outputs.shares[number]
                pairs = (teacher.exp() * (teacher - student)).masked_fill(~batch.pairs, 0)
                losses.append(pairs.sum() / batch.known.sum() / self._encoder.sizes.heads)
        return sum(losses) / len(losses)

    def _noise(self, step: int) -> dict[tuple[int, str], Tensor]:
        """Return which rows of each linear layer are not rounded in a step."""
        noise = self._run.preset.noise
        if not noise:
            return {}
        rng = np.random.default_rng([self._run.seed, 2, step])
        return {
            at: self._torch.from_numpy(rng.random((len(product.weight), 1)) < noise)
            for at, product in self._encoder.products.items()
        }

    def _batch(self, step: int) -> NDArray[np.intp]:
        """Return the rows of the texts of a step: texts of similar length, in an order that depends on the seed alone."""
        run = self._run
        steps_per_pass = max(1, len(run.texts) // run.batch)
        epoch, number = divmod(step, steps_per_pass)
        order = np.random.default_rng([run.seed, 1, epoch]).permutation(len(run.texts))
        together = TOGETHER * run.batch
        first = number * run.batch // together * together
        rows = order[first : first + together]
        rows = rows[np.argsort([len(run.texts[row]) for row in rows], kind="stable")]
        return rows[number * run.batch - first :][: run.batch]

    def _measure(self) -> None:
        """Measure the mean cosine on the holdout, and remember the parameters if they are the best."""
        run = self._run
        vectors = _embed(self._encoder, self._embedding, run.held_out, run.batch)
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(run.held_targets, axis=1)
        cosine = float(((vectors * run.held_targets).sum(axis=1) / np.maximum(norms, 1e-30)).mean())
        if cosine > self._best:
            self._best = cosine
            self._best_state = {name: tensor.detach().numpy().copy() for name, tensor in self._parameters.items()}

    def _set(self, state: dict[str, NDArray[np.float32]]) -> None:
        with self._torch.no_grad():
            for name, tensor in self._parameters.items():
                tensor.copy_(self._torch.from_numpy(state[name]))

    def _mark(self) -> str:
        """Return a digest of all that determines the training."""
        run = self._run
        described = [run.preset.__dict__, run.kept, run.steps, run.batch, run.seed, run.texts, run.held_out]
        digest = hashlib.sha256(json.dumps(described, default=str).encode())
        for array in (run.targets, run.held_targets, run.student.layers[0].attention.weight):
            if array is not None:
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"step": self._step, "best": self._best}
        moments = self._optimizer.state
        for name, tensor in self._parameters.items():
            plain[f"now.{name}"] = tensor.detach().numpy()
            plain[f"best.{name}"] = self._best_state[name]
            for moment in ("exp_avg", "exp_avg_sq"):
                if tensor in moments:
                    plain[f"{moment}.{name}"] = moments[tensor][moment].numpy()
        return plain

    def _restore(self, plain: dict[str, Any]) -> None:
        torch = self._torch
        self._step, self._best = plain["step"], plain["best"]
        self._set({name: plain[f"now.{name}"] for name in self._parameters})
        self._best_state = {name: plain[f"best.{name}"] for name in self._parameters}
        for name, tensor in self._parameters.items():
            if f"exp_avg.{name}" in plain:
                state = {moment: torch.from_numpy(plain[f"{moment}.{name}"]) for moment in ("exp_avg", "exp_avg_sq")}
                self._optimizer.state[tensor] = state | {"step": torch.tensor(float(self._step))}
