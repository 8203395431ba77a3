"""Training of compressed encoders: the same layers as in NumPy, better vectors, and the same result however often it is interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.encoders.byte_pairs import write_modern
from tests.encoders.models import sentences, tensors, write_model
from vsearch.encoders import CompressedEncoder, compress, distill, load
from vsearch.encoders.bert import PRODUCTS
from vsearch.encoders.presets import PRESETS
from vsearch.encoders.quantizing import quantize, tokenize, uniform_bits
from vsearch.encoders.report import cosines
from vsearch.encoders.torch_layers import Batch, LearnedProduct, TorchEncoder
from vsearch.errors import InputError

torch = pytest.importorskip("torch")

TEXTS = sentences(120, 9)
HELD = [" ".join(reversed(text.split())) for text in sentences(30, 7)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), tensors(layers=3))


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_modern(tmp_path_factory.mktemp("modern"))


@pytest.mark.parametrize("kind", ["folder", "modern"])
def test_layers_are_those_of_numpy(kind: str, request: pytest.FixtureRequest) -> None:
    model = load(request.getfixturevalue(kind)).model
    ids = tokenize(model, [*HELD[:5], "", "the fast " * 30])
    with torch.no_grad():
        vectors = TorchEncoder.of_floats(model).run(Batch.of(model, ids)).vectors.numpy()
    np.testing.assert_allclose(vectors, model.forward(ids), atol=2e-5)


@pytest.mark.parametrize("bits", [8, 4, 2, "ternary"])
def test_training_starts_with_the_rounded_layers(folder: Path, bits: Any) -> None:
    model = load(folder).model
    start = quantize(model, tokenize(model, TEXTS), uniform_bits(model, bits, 8))
    rows = np.random.default_rng(0).standard_normal((7, 64)).astype(np.float32)
    for number, layer in enumerate(model.layers):
        for name in PRODUCTS[:3]:
            rounded = start.layers[number].product(name)
            product = LearnedProduct(layer.product(name), rounded, bits)
            with torch.no_grad():
                outputs = product.apply(torch.from_numpy(rows)).numpy()
            np.testing.assert_allclose(outputs, rounded.apply(rows), atol=1e-3)
            made = product.quantized()
            np.testing.assert_array_equal(made.blocks, rounded.blocks)
            np.testing.assert_array_equal(made.steps, rounded.steps)
            assert made.bits == bits


@pytest.mark.parametrize("bits", [8, 3, "ternary"])
def test_weights_scales_and_biases_learn(folder: Path, bits: Any) -> None:
    model = load(folder).model
    start = quantize(model, tokenize(model, TEXTS), uniform_bits(model, bits, 8)).layers[0].attention
    product = LearnedProduct(model.layers[0].attention, start, bits)
    with torch.no_grad():
        product.weight *= 2  # some are beyond their group, so that its offset has a gradient
    product.apply(torch.ones(1, 64)).square().sum().backward()
    for name, tensor in product.parameters().items():
        assert tensor.grad.abs().sum() > 0, name


def test_gradients_of_rounding_are_those_of_its_parts() -> None:
    from vsearch.encoders.torch_functions import round_inputs, round_weights

    rng = np.random.default_rng(4)
    upstream = torch.from_numpy(rng.standard_normal((5, 64)).astype(np.float32))
    parts = rng.standard_normal((5, 64)), rng.uniform(0.1, 0.3, (5, 2)), rng.uniform(-1, -0.5, (5, 2))

    def through(written_out: bool) -> list[np.ndarray]:
        weights, scales, offsets = (torch.tensor(part, dtype=torch.float32, requires_grad=True) for part in parts)
        if written_out:
            rounded = round_weights(weights, scales, offsets, 7)
        else:
            scale, offset = (part.repeat_interleave(32, dim=1) for part in (scales, offsets))
            units = torch.clamp((weights - offset) / scale, -0.5, 7.5)
            rounded = (units + (units.round().clamp(0, 7) - units).detach()) * scale + offset
        (rounded * upstream).sum().backward()
        return [rounded.detach().numpy(), *(part.grad.numpy() for part in (weights, scales, offsets))]

    for found, expected in zip(through(True), through(False), strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(found, expected, atol=1e-4)
    rows = upstream.clone().requires_grad_()
    round_inputs(rows).backward(upstream)
    np.testing.assert_array_equal(rows.grad.numpy(), upstream.numpy())


def test_products_of_bfloat16_are_close_to_those_of_float32() -> None:
    from vsearch.encoders.torch_functions import multiply

    rng = np.random.default_rng(5)
    rows, weights = (torch.from_numpy(rng.standard_normal(shape).astype(np.float32)) for shape in ((2, 3, 64), (8, 64)))
    results = []
    for product in (multiply, lambda one, other: one @ other.T):
        one, other = rows.clone().requires_grad_(), weights.clone().requires_grad_()
        outputs = product(one, other)
        outputs.square().sum().backward()
        assert outputs.dtype == one.grad.dtype == other.grad.dtype == torch.float32
        results.append([outputs.detach().numpy(), one.grad.numpy(), other.grad.numpy()])
    for half, exact in zip(*results, strict=True):
        np.testing.assert_allclose(half, exact, atol=0.02 * np.abs(exact).max())


def test_fast_layers_are_close_to_exact_ones(folder: Path) -> None:
    model = load(folder).model
    ids = tokenize(model, HELD[:5])
    start = quantize(model, tokenize(model, TEXTS), uniform_bits(model, 4, 8))
    products = {
        (number, name): LearnedProduct(layer.product(name), start.layers[number].product(name), 4)
        for number, layer in enumerate(model.layers)
        for name in PRODUCTS
    }
    for encoder in (TorchEncoder.of_floats(model), TorchEncoder(model, products)):
        with torch.no_grad():
            exact = encoder.run(Batch.of(model, ids)).vectors.numpy()
            half = encoder.run(Batch.of(model, ids), half=True).vectors.numpy()
        assert cosines(exact, half).min() > 0.995
        assert np.abs(exact - half).max() > 0


@pytest.mark.parametrize(("preset", "rate", "gain"), [("mkq4", 3e-4, 0.005), ("xtc-ternary", 2e-3, 0.05)])
def test_training_brings_vectors_closer(folder: Path, tmp_path: Path, preset: str, rate: float, gain: float) -> None:
    chosen = PRESETS[preset]
    layers = (0, 2) if chosen.kept < 1 else None
    before = compress(
        folder, TEXTS, bits={"weights": chosen.weights, "table": chosen.table}, layers=layers, holdout=HELD
    )
    after = distill(folder, TEXTS, preset=preset, layers=layers, holdout=HELD, steps=60, batch=16, rate=rate)
    assert after.report.preset == preset
    assert after.report.steps == 60
    assert after.report.cosine > before.report.cosine + gain
    assert abs(after.report.total_bytes - before.report.total_bytes) < 100
    after.save(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, CompressedEncoder)
    assert again.report == after.report
    np.testing.assert_array_equal(again.encode(HELD), after.encode(HELD))


def test_modern_encoders_are_trained(modern: Path) -> None:
    made = distill(modern, TEXTS, preset="sdq8", steps=3, batch=8)
    assert made.report.cosine > 0.98
    assert made.report.texts == 12


def test_an_interrupted_training_ends_the_same(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"preset": "sdq8", "steps": 20, "batch": 8, "holdout": HELD, "rate": 1e-3}
    whole = distill(folder, TEXTS, **options)

    def interrupt(stage: str, step: int, steps: int) -> None:
        if step == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(folder, TEXTS, **options, checkpoint=tmp_path / "kept.npz", progress=interrupt)
    seen: list[int] = []
    resumed = distill(
        folder, TEXTS, **options, checkpoint=tmp_path / "kept.npz", progress=lambda *told: seen.append(told[1])
    )
    assert seen == list(range(13, 21))
    assert resumed.report == whole.report
    np.testing.assert_array_equal(resumed.encode(HELD), whole.encode(HELD))
    with pytest.raises(InputError, match="another training"):
        distill(folder, TEXTS, **options, seed=1, checkpoint=tmp_path / "kept.npz")


def test_without_vectors_those_of_the_model_are_the_goal(folder: Path) -> None:
    options: dict[str, Any] = {"preset": "mkq4", "holdout": HELD, "steps": 40, "batch": 16, "rate": 1e-3}
    by_model = distill(folder, TEXTS, **options)
    by_vectors = distill(folder, TEXTS, **options, vectors=load(folder).encode(TEXTS))
    assert abs(by_model.report.cosine - by_vectors.report.cosine) < 0.002


def test_vectors_of_an_index_are_the_goal(folder: Path) -> None:
    """Here those of the model after a rotation, which only training can bring."""
    model = load(folder)
    turned = model.encode(TEXTS)[:, ::-1]
    made = distill(folder, TEXTS, preset="mkq4", vectors=turned, steps=60, batch=16, rate=3e-3)
    assert cosines(turned, made.encode(TEXTS)).mean() > cosines(turned, model.encode(TEXTS)).mean() + 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "sdq"}, "preset must be one of sdq8, mkq4, xtc-ternary, got 'sdq'"),
        ({"steps": 0}, "steps"),
        ({"batch": 1.5}, "batch"),
        ({"rate": 0}, "rate"),
        ({"seed": -1}, "seed"),
        ({"vectors": np.zeros((3, 64), np.float32)}, "vectors"),
        ({"vectors": np.full((120, 64), np.nan)}, "finite"),
        ({"holdout": []}, "holdout"),
        ({"layers": 9}, "layers"),
    ],
)
def test_mistakes(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        distill(folder, TEXTS, **{"preset": "mkq4", "steps": 1} | changes)


def test_one_text_is_not_enough(folder: Path) -> None:
    with pytest.raises(InputError, match="at least 2"):
        distill(folder, ["text"], preset="mkq4")
