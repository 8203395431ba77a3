"""Building an index of texts: the same vectors on any number of cores, and after any number of kills."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.encoders.models import sentences, write_model
from vsearch.building.inputs import embedding
from vsearch.building.inputs.text_spool import CHUNKS, VECTORS, TextSpool
from vsearch.encoders import CompressedEncoder, TextEncoder, compress, load
from vsearch.errors import IndexExistsError, InputError, VsearchWarning

TEXTS = sentences(300, 6)

Progress = Callable[[str, int, int], None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), prompts={"query": "search ", "document": "text "})


@pytest.fixture(scope="module")
def encoder(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "e"
    compress(model, TEXTS[:40], bits=4).save(folder)
    return folder


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return pa.table({"id": [f"r{row}" for row in range(300)], "body": TEXTS, "number": np.arange(300)})


@pytest.fixture
def parquet(table: pa.Table, tmp_path: Path) -> Path:
    pq.write_table(table, tmp_path / "texts.parquet", row_group_size=70)
    return tmp_path / "texts.parquet"


def silent(stage: str, done: int, total: int) -> None:
    pass


def embedded(source: object, encoder: Path | TextEncoder, spool: Path, progress: Progress = silent) -> np.ndarray:
    """The vectors of a column, computed through a persistent spool."""
    opened = encoder if isinstance(encoder, TextEncoder) else load(encoder)
    texts = embedding.TextTable.open(source, "body", spool.with_name("scratch"))
    with TextSpool(spool, embedding.signature(opened), opened.dimensions) as vectors:
        embedding.embed(texts, opened, vectors, progress)
        return vectors.read().copy()


def test_vectors_are_those_of_the_encoder(parquet: Path, encoder: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    index = vsearch.build(
        parquet, tmp_path / "i", text_column="body", encoder=encoder, id="id", progress=lambda *step: seen.append(step)
    )
    assert [step for step in seen if step[0] == "embed"] == [("embed", 300, 300)]
    opened = load(encoder)
    plain = vsearch.build(opened.encode(TEXTS, "document"), tmp_path / "plain", attributes=str(parquet), ids="id")
    assert index.snapshot.manifest.snapshot == 1, "the encoder is there from the first snapshot on"
    assert not (tmp_path / "i.vectors").exists()
    queries = opened.encode(TEXTS[:9])  # with the prompt of queries
    expected = plain.search(queries, k=5, where="number < 200", columns=["body", "number"])
    found = vsearch.open(tmp_path / "i").search(TEXTS[:9], k=5, where="number < 200", columns=["body", "number"])
    assert found.ids.tolist() == expected.ids.tolist()
    assert found.scores.tobytes() == expected.scores.tobytes()
    assert found.columns.to_pylist() == expected.columns.to_pylist()
    assert vsearch.verify(tmp_path / "i").ok


def test_any_number_of_cores_makes_the_same_vectors(
    table: pa.Table, encoder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, source in (("compressed", encoder), ("float", model)):
        made = []
        for cores, chunk in ((1, 128), (3, 128), (2, 37)):
            monkeypatch.setattr(embedding, "available_cores", lambda cores=cores: cores)
            monkeypatch.setattr(embedding, "CHUNK", chunk)
            made.append(embedded(table, source, tmp_path / f"{name}-{cores}").tobytes())
        assert made == [load(source).encode(TEXTS, "document").tobytes()] * 3, name


def test_a_float_model_is_compressed_for_queries(table: pa.Table, model: Path, tmp_path: Path) -> None:
    index = vsearch.build(table, tmp_path / "i", ["number"], text_column="body", encoder=model, ids="id")
    assert list(index.info()["attributes"]) == ["number"]
    exact = load(model).encode(TEXTS, "document")
    found = index.search(load(model).encode(TEXTS[:20], "document"), k=1, exact=True)
    assert found.scores[:, 0] == pytest.approx((exact[:20] ** 2).sum(axis=1), abs=1e-2)
    assert index.info()["encoder"]["compressed"]
    assert index.search(TEXTS[0], k=1).scores[0, 0] > 0.5


def test_sources_of_every_kind(table: pa.Table, parquet: Path, encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(3):
        pq.write_table(table.slice(100 * number, 100), folder / f"{number}.parquet")
    pyarrow.csv.write_csv(table, tmp_path / "texts.csv")
    large = table.set_column(1, "body", table["body"].cast(pa.large_string()))
    dictionary = table.set_column(1, "body", table["body"].dictionary_encode())
    opened = load(encoder)
    expected = opened.encode(TEXTS, "document").tobytes()
    sources = (
        parquet,
        folder,
        tmp_path / "texts.csv",
        table,
        large,
        dictionary,
        table.to_pandas(),
        table.to_reader(77),
    )
    for number, source in enumerate(sources):
        assert embedded(source, opened, tmp_path / f"spool-{number}").tobytes() == expected, number
    index = vsearch.build(tmp_path / "texts.csv", "memory://texts", text_column="body", encoder=opened, id="id")
    assert index.search(TEXTS[0], k=1, columns=["number"]).columns.num_rows == 1


def test_rows_without_a_text(table: pa.Table, encoder: Path, tmp_path: Path) -> None:
    holes = pa.array([None if row in (0, 7, 299) else text for row, text in enumerate(TEXTS)])
    source = table.set_column(1, "body", holes)
    with pytest.raises(InputError, match=r"3 rows have no usable vector \(3 NULL\): 'r0', 'r7', 'r299'"):
        vsearch.build(source, tmp_path / "i", text_column="body", encoder=encoder, id="id")
    with pytest.warns(VsearchWarning, match="3 NULL"):
        index = vsearch.build(source, tmp_path / "i", text_column="body", encoder=encoder, id="id", missing="skip")
    assert len(index) == 297
    assert index.info()["skipped"] == {"NULL": 3}
    found = index.get(["r1", "r8"], columns=["number", "body"]).to_pylist()
    assert [row["number"] for row in found] == [1, 8]
    nothing = table.set_column(1, "body", pa.nulls(300, pa.string()))
    for without in (nothing, nothing.slice(0, 0)):
        with pytest.raises(InputError, match="no row has a text"):
            vsearch.build(without, tmp_path / "j", text_column="body", encoder=encoder)
    empty = vsearch.build({"body": ["", "a"]}, tmp_path / "k", text_column="body", encoder=encoder)
    assert len(empty) == 2


class StoppedError(Exception):
    pass


def count_texts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    encode = CompressedEncoder.encode

    def counting(self: CompressedEncoder, texts: list[str], prompt: str | None = None) -> np.ndarray:
        counted.append(len(texts))
        return encode(self, texts, prompt)

    monkeypatch.setattr(CompressedEncoder, "encode", counting)
    return counted


@pytest.mark.parametrize("damage", ["none", "vectors", "chunks", "tail", "text", "encoder"])
def test_a_build_goes_on_where_it_was_stopped(
    table: pa.Table, model: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(embedding, "CHUNK", 50)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "embed" and done >= 200:
            raise StoppedError

    with pytest.raises(StoppedError):
        embedded(table, encoder, tmp_path / "spool", stop)
    spool, again = tmp_path / "spool", encoder
    rows = 200
    if damage == "vectors":
        data = bytearray((spool / VECTORS).read_bytes())
        data[4 * 64 * 60] ^= 1
        (spool / VECTORS).write_bytes(data)
        rows = 50
    elif damage == "chunks":
        data = (spool / CHUNKS).read_bytes()
        (spool / CHUNKS).write_bytes(data[:45] + b"\xff" * 5 + data[50:])
        rows = 50
    elif damage == "tail":
        (spool / VECTORS).write_bytes((spool / VECTORS).read_bytes()[:-7])
        rows = 150
    elif damage == "text":
        table = table.set_column(1, "body", pa.array(["another" if row == 120 else t for row, t in enumerate(TEXTS)]))
        rows = 100
    elif damage == "encoder":
        again = tmp_path / "other"
        compress(model, TEXTS[:40], bits=8).save(again)
        rows = 0
    counted = count_texts(monkeypatch)
    vectors = embedded(table, again, spool)
    assert sum(counted) == 3 + 300 - rows, "three probes, and what was not there"
    assert vectors.tobytes() == embedded(table, again, tmp_path / "whole").tobytes()


KILLED = """
import os, sys, vsearch
from vsearch.building.inputs import embedding
embedding.CHUNK = 50
def stop(stage, done, total):
    if stage == "embed" and done >= 150:
        os.kill(os.getpid(), 9)
vsearch.build(sys.argv[1], sys.argv[2], text_column="body", encoder=sys.argv[3], progress=stop)
"""


def test_a_process_that_was_killed_leaves_a_spool(
    parquet: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = tmp_path / "there" / "i"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED, parquet, url, encoder], env=environment, check=False)
    assert done.returncode == -9
    assert (tmp_path / "there" / "i.vectors").is_dir()
    assert not url.exists() or not any(url.rglob("*.arrow"))
    monkeypatch.setattr(embedding, "CHUNK", 50)
    counted = count_texts(monkeypatch)
    index = vsearch.build(parquet, url, text_column="body", encoder=encoder)
    assert sum(counted) == 3 + 150
    assert len(index) == 300
    assert not (tmp_path / "there" / "i.vectors").exists()


def test_what_is_refused(table: pa.Table, parquet: Path, encoder: Path, tmp_path: Path) -> None:
    other = tmp_path / "others"
    other.mkdir()
    twice = table.append_column("id", table["id"])
    (other / "file").touch()
    vsearch.build(np.eye(4, dtype=np.float32), tmp_path / "there")
    with TextSpool(tmp_path / "held", "x", 64):
        for arguments, message in [
            ({"text_column": "body"}, "text_column and encoder must be passed together"),
            ({"encoder": encoder}, "text_column and encoder must be passed together"),
            ({"spool": tmp_path / "s"}, "text_column and encoder must be passed together"),
            ({"text_column": "none", "encoder": encoder}, r"no column 'none'; the columns are: id, body, number"),
            ({"text_column": "number", "encoder": encoder}, "column 'number' is int64, not text"),
            ({"text_column": "id", "encoder": encoder, "embeddings": twice}, "several columns are named 'id'"),
            ({"text_column": "body", "encoder": encoder, "vectors": "body"}, "pass only one"),
            ({"text_column": "body", "encoder": encoder, "attributes": ["nil"]}, "no column 'nil'"),
            ({"text_column": "body", "encoder": encoder, "spool": other}, "must contain nothing else, got 'file'"),
            ({"text_column": "body", "encoder": encoder, "spool": tmp_path / "held"}, "another build uses this spool"),
            ({"text_column": "body", "encoder": tmp_path / "none"}, "folder"),
            ({"embeddings": np.eye(3), "text_column": "body", "encoder": encoder}, "requires a table"),
        ]:
            with pytest.raises(InputError, match=message):
                vsearch.build(**({"embeddings": table, "url": tmp_path / "i"} | arguments))
    with pytest.raises(IndexExistsError):
        vsearch.build(parquet, tmp_path / "there", text_column="body", encoder=encoder)


def test_chunks_are_the_same_whatever_the_batches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "CHUNK", 4)
    texts = [None if row % 5 == 1 else str(row) for row in range(23)]
    seen = []
    for size in (1, 3, 7, 23):

        class Batches:
            def batches(self, size: int = size) -> itertools.chain[list[str | None]]:
                return itertools.chain(texts[start : start + size] for start in range(0, 23, size))

        unusable = embedding.Unusable()
        chunks = [chunk for _, chunk in embedding._chunks(Batches(), unusable)]  # type: ignore[arg-type]
        seen.append((chunks, unusable.sorted().tolist()))
    assert all(one == seen[0] for one in seen)
    assert seen[0][1] == [1, 6, 11, 16, 21]
