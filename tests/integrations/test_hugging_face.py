"""Datasets of Hugging Face as input of builds and changes, and exports as datasets: with the library itself."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("datasets")

import datasets

import vsearch
from tests.indexes import clustered
from vsearch.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
VECTORS = clustered(5000, 12)


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture(scope="module")
def dataset():
    label = datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features({
        "id": datasets.Value("string"),
        "year": datasets.Value("int32"),
        "label": label,
        "embedding": datasets.Sequence(datasets.Value("float32"), length=12),
    })  # fmt: skip
    columns = {
        "id": [f"a{row}" for row in range(5000)],
        "year": [None if row % 9 == 0 else 1000 + row for row in range(5000)],
        "label": [row % 2 for row in range(5000)],
        "embedding": VECTORS,
    }
    return datasets.Dataset.from_dict(columns, features=features)


def check(index, rows):
    assert len(index) == len(rows)
    table = index.get([f"a{row}" for row in rows[:50]], columns=["year", "label"])
    assert table["year"].to_pylist() == [None if row % 9 == 0 else 1000 + row for row in rows[:50]]
    assert table["label"].to_pylist() == [row % 2 for row in rows[:50]]
    np.testing.assert_allclose(index.vectors([f"a{rows[7]}"]).vectors[0], VECTORS[rows[7]], rtol=1e-3, atol=1e-3)


FORMS = {
    "dataset": lambda dataset: dataset,
    "numpy": lambda dataset: dataset.with_format("numpy"),
    "selected": lambda dataset: dataset.shuffle(seed=0).select(range(4500)),
    "streamed": lambda dataset: dataset.to_iterable_dataset(num_shards=3),
    "shuffled stream": lambda dataset: dataset.to_iterable_dataset(num_shards=3).shuffle(seed=1, buffer_size=100),
    "mapped stream": lambda dataset: dataset.to_iterable_dataset().map(lambda row: row),
    "split": lambda dataset: datasets.DatasetDict({"train": dataset})["train"],
}


@pytest.mark.parametrize("form", FORMS)
def test_builds_read_them(dataset, tmp_path, form):
    made = FORMS[form](dataset)
    rows = [int(name[1:]) for name in made["id"]] if form == "selected" else list(range(5000))
    index = vsearch.build(made, tmp_path / "i", vectors="embedding", id="id", metric="l2", rerank="float32")
    check(index, rows)


def test_columns_are_vectors_ids_and_attributes(dataset, tmp_path):
    rest = dataset.remove_columns(["embedding"])
    index = vsearch.build(dataset["embedding"], tmp_path / "i", rest, ids=dataset["id"], metric="l2", rerank="float32")
    check(index, list(range(5000)))
    assert vsearch.plan(dataset, vectors="embedding", id="id").rows == 5000


def test_streams_whose_columns_only_their_rows_tell(tmp_path):
    def rows():
        for row in range(5000):
            yield {"id": f"a{row}", "n": None if row == 0 else row, "embedding": VECTORS[row].tolist()}

    index = vsearch.build(datasets.IterableDataset.from_generator(rows), tmp_path / "i", vectors="embedding", id="id")
    assert index.get(["a0", "a4999"], columns=["n"])["n"].to_pylist() == [None, 4999]
    with pytest.raises(InputError, match="no rows"):
        vsearch.build(datasets.IterableDataset.from_generator(lambda: iter(())), tmp_path / "none")


def test_changes_read_them(dataset, tmp_path):
    index = vsearch.create(
        tmp_path / "i", 12, ids="string", attributes={"year": "int64", "label": "int64"}, metric="l2"
    )
    named = {"vectors": "embedding", "id": "id", "attributes": ["year", "label"]}
    index.append(dataset.select(range(100)), **named)
    index.upsert(dataset.select(range(50, 200)).to_iterable_dataset(), **named)
    check(index, list(range(200)))


def test_documents_of_token_vectors_are_read(tmp_path):
    features = datasets.Features({"id": datasets.Value("string"), "tokens": datasets.Array2D((4, 12), "float32")})
    units = VECTORS[:1200] / np.linalg.norm(VECTORS[:1200], axis=1, keepdims=True)
    made = {"id": [f"d{row}" for row in range(300)], "tokens": units.reshape(300, 4, 12)}
    dataset = datasets.Dataset.from_dict(made, features=features)
    index = vsearch.build_documents(dataset, None, tmp_path / "i", column="tokens", id="id", store="float32")
    assert index.search_documents(units[40:44], k=1, candidates="all", exact=True).ids[0, 0] == "d10"


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_exports_are_loaded(dataset, tmp_path, ending):
    index = vsearch.build(dataset, tmp_path / "i", vectors="embedding", id="id", rerank="float32", metric="l2")
    file = tmp_path / f"rows.{ending}"
    index.export(file, where="label = 1")
    loaded = datasets.load_dataset(ending, data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 2500
    assert loaded.features["vector"] == datasets.List(datasets.Value("float32"), length=12)
    again = vsearch.build(loaded, tmp_path / "again", vectors="vector", id="id", rerank="float32", metric="l2")
    check(again, list(range(1, 5000, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda dataset: datasets.DatasetDict({"train": dataset}), "several splits .'train'.; pass one of them"),
        (lambda dataset: dataset.select([]), "no rows"),
        (lambda dataset: dataset.remove_columns(["embedding"]), "no column 'embedding'"),
    ],
)
def test_others_are_refused(dataset, tmp_path, make, message):
    with pytest.raises(InputError, match=message):
        vsearch.build(make(dataset), tmp_path / "i", vectors="embedding")
