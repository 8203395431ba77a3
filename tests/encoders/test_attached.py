"""An index with an encoder accepts texts and keeps the encoder through changes; torch encoders use the same files."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests.encoders.models import sentences, write_model
from vsearch.encoders import CompressedEncoder, compress, load
from vsearch.errors import CorruptIndexError, InputError, MissingDependencyError
from vsearch.storage import write_arrays

TEXTS = sentences(300, 6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def encoder(model: Path) -> CompressedEncoder:
    return compress(model, TEXTS[:40], bits=4)


@pytest.fixture
def plain(model: Path, tmp_path: Path) -> vsearch.Index:
    return vsearch.build(load(model).encode(TEXTS), tmp_path / "index", shards=2, partitions=4)


def test_texts_are_queries(plain: vsearch.Index, encoder: CompressedEncoder) -> None:
    index = plain.with_encoder(encoder)
    assert index.snapshot.manifest.snapshot == plain.snapshot.manifest.snapshot + 1
    assert index.snapshot.manifest.format == plain.snapshot.manifest.format
    url = plain.snapshot.store.url.removeprefix("file://")
    for opened in (index, vsearch.open(url), copy.copy(index)):
        expected = opened.search(encoder.encode(TEXTS[:5]), k=4)
        for answer in (opened.search(TEXTS[:5], k=4), opened.search(tuple(TEXTS[:5]), k=4)):
            np.testing.assert_array_equal(answer.ids, expected.ids)
            np.testing.assert_array_equal(answer.scores, expected.scores)
        np.testing.assert_array_equal(opened.search(TEXTS[3], k=4).ids[0], expected.ids[3])
    found = index.search(TEXTS[:100], k=1).ids[:, 0]
    assert np.mean([TEXTS[row] == text for row, text in zip(found, TEXTS, strict=False)]) > 0.9
    assert vsearch.verify(url).ok
    with pytest.raises(InputError, match="has no query encoder"):
        plain.search("a text")
    assert index.explain(TEXTS[0], k=2).stats.rows_scanned


def test_the_encoder_stays_through_changes(plain: vsearch.Index, encoder: CompressedEncoder, model: Path) -> None:
    index = plain.with_encoder(encoder)
    index.search(TEXTS[0])
    opened = index._encode
    index.append(load(model).encode(["blue blue blue river"]))
    index.delete(ids=[1, 2])
    assert index.search("blue blue blue river", k=1).ids[0, 0] == 300
    assert index._encode is opened, "it was opened again although it is the same"
    index.optimize(force=True)
    index.retrain()
    assert index.search("blue blue blue river", k=1).ids[0, 0] == 300
    vsearch.prune(plain.snapshot.store.url.removeprefix("file://"), keep=1, grace=0, older_than=0)
    again = vsearch.open(plain.snapshot.store.url.removeprefix("file://"))
    assert again.search("blue blue blue river", k=1).ids[0, 0] == 300


def test_changes_of_others_are_kept(plain: vsearch.Index, encoder: CompressedEncoder, model: Path) -> None:
    other = vsearch.open(plain.snapshot.store.url.removeprefix("file://"))
    other.append(load(model).encode(["stone stone"]))
    index = plain.with_encoder(encoder)
    assert len(index) == 301
    assert index.search("stone stone", k=1).ids[0, 0] == 300
    other.delete(ids=[5])  # from a snapshot without the encoder
    other.tune(0.9)
    assert other.search("stone stone", k=1, exact=True).ids[0, 0] == 300
    assert len(other) == 300


def test_another_encoder_takes_its_place(plain: vsearch.Index, encoder: CompressedEncoder, model: Path) -> None:
    second = compress(model, TEXTS[:20], bits=8)
    index = plain.with_encoder(encoder)
    index.search(TEXTS[0])
    index = index.with_encoder(second)
    np.testing.assert_array_equal(vsearch.jpq.load_encoder(index)(TEXTS[:2]), second.encode(TEXTS[:2]))
    kinds = [kind for kind in index.snapshot.manifest.model if kind.startswith("encoder:")]
    assert sorted(kinds) == ["encoder:encoder.arrow", "encoder:encoder.json"]


def test_what_does_not_fit_is_refused(
    plain: vsearch.Index, encoder: CompressedEncoder, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"got TextEncoder; create one with vsearch\.encoders\.compress"):
        plain.with_encoder(load(model))  # type: ignore[arg-type]
    narrow = vsearch.build(np.eye(16, dtype=np.float32), tmp_path / "narrow")
    with pytest.raises(InputError, match="16 dimensions, got 64"):
        narrow.with_encoder(encoder)
    matrices = list(np.random.default_rng(0).standard_normal((20, 4, 64)).astype(np.float32))
    documents = vsearch.build_documents(matrices, None, tmp_path / "documents")
    with pytest.raises(InputError, match="multi-vector documents cannot use a text encoder"):
        documents.with_encoder(encoder)
    assert len(narrow.snapshots()) == 1


def test_a_damaged_encoder_is_an_error(plain: vsearch.Index, encoder: CompressedEncoder) -> None:
    index = plain.with_encoder(encoder)
    folder = Path(plain.snapshot.store.url.removeprefix("file://"))
    path = folder / index.snapshot.manifest.model["encoder:encoder.arrow"].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    opened = vsearch.open(folder)
    opened.search(encoder.encode(TEXTS[0]))  # vectors need none of it
    with pytest.raises(CorruptIndexError):
        opened.search(TEXTS[0])


def test_a_float_encoder_of_bert_needs_no_torch(
    plain: vsearch.Index, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder stored by `train_encoder` is run by NumPy if torch is not installed."""
    from vsearch.live.attaching import Attach
    from vsearch.live.commits import commit_change

    files = {}
    for number, path in enumerate(sorted(path for path in model.rglob("*") if path.is_file())):
        array = np.frombuffer(path.read_bytes(), np.uint8)
        entry, _ = write_arrays(plain.snapshot.store, f"model/hand-encoder-{number}.arrow", {"bytes": array})
        files[f"encoder:{path.relative_to(model)}"] = entry
    _, after = commit_change(plain.snapshot, Attach(files))
    monkeypatch.setitem(sys.modules, "torch", None)
    vectors = vsearch.jpq.load_encoder(vsearch.Index(after))(TEXTS[:3])
    np.testing.assert_array_equal(vectors, load(model).encode(TEXTS[:3]))
    assert vsearch.Index(after).search(TEXTS[7], k=1).scores[0, 0] == pytest.approx(1, abs=1e-3)
    state, _ = write_arrays(plain.snapshot.store, "model/hand-state-0.arrow", {"bytes": np.ones(9, np.uint8)})
    _, after = commit_change(after, Attach({"encoder:state.safetensors": state}))
    with pytest.raises(MissingDependencyError, match="torch"):
        vsearch.Index(after).search("a text")


def test_an_encoder_in_memory(encoder: CompressedEncoder, model: Path) -> None:
    index = vsearch.build(load(model).encode(TEXTS), "memory://encoder-in-memory").with_encoder(encoder)
    np.testing.assert_array_equal(index.search(TEXTS[:3]).ids, index.search(encoder.encode(TEXTS[:3])).ids)
