"""Evaluation of encoders: against handmade rankings and the report of a compression, and refused input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests.encoders.models import sentences, tensors, write_model
from vsearch.encoders import CompressedEncoder, TextEncoder, compress, evaluate, load
from vsearch.errors import InputError

TEXTS = sentences(120, 6)
ASKED = [f"{text} hello world" for text in TEXTS[:30]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def encoder(model: Path) -> CompressedEncoder:
    return compress(model, TEXTS[:40], bits=4, holdout=ASKED)


@pytest.fixture(scope="module", params=["numbers", "strings"])
def index(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> vsearch.Index:
    ids = [f"r{row}" for row in range(len(TEXTS))] if request.param == "strings" else None
    return vsearch.build(load(model).encode(TEXTS), tmp_path_factory.mktemp("index") / "i", ids=ids, shards=1)


def test_vectors_and_neighbors(model: Path, encoder: CompressedEncoder, index: vsearch.Index) -> None:
    found = evaluate(encoder, ASKED, model=model, index=index)
    assert found.texts == 30
    assert found.cosine == pytest.approx(encoder.report.cosine, abs=1e-3)
    assert found.worst_cosine == pytest.approx(encoder.report.worst_cosine, abs=5e-3)
    sets = [index.search(one.encode(ASKED), k=10, exact=True).ids.tolist() for one in (load(model), encoder)]
    expected = np.mean([len({*a} & {*b}) / 10 for a, b in zip(*sets, strict=True)])
    assert found.recall == pytest.approx(expected)
    assert 0.3 < found.recall < 1
    same = evaluate(load(model), ASKED, model=model, index=index)
    assert (same.cosine, same.recall) == (pytest.approx(1), 1.0)
    assert found.ranking is None


def test_pairs(model: Path, encoder: CompressedEncoder, index: vsearch.Index) -> None:
    name = (lambda row: f"r{row}") if index.info()["id_type"] == "string" else int
    ids = index.search(load(model).encode(ASKED[:3]), k=11, exact=True).ids
    pairs = [(ASKED[0], ids[0, 0]), (ASKED[1], ids[1, 2]), (ASKED[2], ids[2, 10])]
    pairs += [(ASKED[1], ids[1, 10])]
    found = evaluate(model, ASKED, index=index, pairs=pairs)
    assert (found.pairs, found.cosine, found.recall, found.model_ranking) == (3, None, None, None)
    assert found.ranking is not None
    assert found.ranking.mrr == pytest.approx((1 + 1 / 3 + 0) / 3)
    gain = (1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert found.ranking.ndcg == pytest.approx((1 + gain + 0) / 3)
    both = evaluate(
        encoder, ASKED, model=model, index=index, pairs=[(text, name(row)) for row, text in enumerate(TEXTS)]
    )
    assert both.model_ranking is not None
    assert both.ranking is not None
    assert both.model_ranking.mrr > 0.9
    assert both.to_dict()["ranking"] == {"mrr": both.ranking.mrr, "ndcg": both.ranking.ndcg}


def test_fewer_rows_than_ten(model: Path, encoder: CompressedEncoder, tmp_path: Path) -> None:
    few = vsearch.build(load(model).encode(TEXTS[:4]), tmp_path / "few")
    found = evaluate(encoder, ASKED, model=model, index=few, pairs=[(TEXTS[1], 1), (TEXTS[2], 77)])
    assert found.recall == 1
    assert found.ranking is not None
    assert found.ranking.mrr == pytest.approx(0.5, abs=0.26)


def test_what_is_refused(model: Path, encoder: CompressedEncoder, index: vsearch.Index, tmp_path: Path) -> None:
    narrow = load(write_model(tmp_path / "narrow", tensors(width=32)))
    assert isinstance(narrow, TextEncoder)
    for options, message in [
        ({"texts": []}, "at least one text"),
        ({"texts": [1]}, "text 0 must be a string"),
        ({"model": narrow}, "the model.s 32 dimensions, got 64"),
        ({"pairs": [("a", 1)]}, "pairs require an index"),
        ({"index": index, "pairs": []}, "at least one pair"),
        ({"index": index, "pairs": [("a", 1), "b"]}, "pair 1 must be a query and an id"),
    ]:
        with pytest.raises(InputError, match=message):
            evaluate(encoder, **({"texts": ASKED} | options))
