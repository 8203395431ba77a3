from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.stats import spearmanr

from vsearch.errors import InputError
from vsearch.multivector.codec import load_token_codec, train_token_codec
from vsearch.multivector.fde import bucket_entries, load_fde, train_fde
from vsearch.multivector.numbering import number_centroids, pairwise_distances
from vsearch.multivector.reduction import cluster, keep_salient, merge_vectors


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape)
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def test_residual_bits_lower_the_error(collection) -> None:
    errors = []
    for bits in (0, 1, 2, 4):
        token_codec = train_token_codec(collection.vectors, 64, bits)
        decoded = token_codec.decode(token_codec.encode(collection.vectors))
        errors.append(float(((decoded - collection.vectors) ** 2).sum(axis=1).mean()))
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 0.05 * errors[0]


@pytest.mark.parametrize("options", [{"residual_bits": 2}, {"residual_bits": 0}, {"residual_bits": 0, "binary": True}])
def test_a_codec_is_made_again_from_what_is_stored(collection, options) -> None:
    token_codec = train_token_codec(collection.vectors, 50, **options)
    again = load_token_codec(token_codec.configuration(), token_codec.arrays())
    np.testing.assert_array_equal(
        token_codec.decode(token_codec.encode(collection.vectors[:100])),
        again.decode(again.encode(collection.vectors[:100])),
    )


def test_a_codec_that_does_not_fit_is_refused(collection) -> None:
    token_codec = train_token_codec(collection.vectors, 50, 2)
    arrays = dict(token_codec.arrays())
    for name, wrong in (
        ("codebook", arrays["codebook"][:10]),
        ("codebook", np.full_like(arrays["codebook"], np.nan)),
        ("residual.dimension_bits", arrays["residual.dimension_bits"] + 9),
        ("residual.rotation", arrays["residual.rotation"][:5]),
    ):
        with pytest.raises(ValueError, match=r"codebook|dimension_bits|rotation"):
            load_token_codec(token_codec.configuration(), arrays | {name: wrong})


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_few_vectors_train(count) -> None:
    vectors = unit(np.random.default_rng(0), count, 8)
    for bits in (0, 1, 4):
        token_codec = train_token_codec(vectors, 256, bits)
        assert 1 <= len(token_codec.codebook) <= max(1, count)
        assert np.isfinite(token_codec.decode(token_codec.encode(vectors))).all()


def test_equal_vectors_train() -> None:
    vectors = np.ones((100, 8), np.float32)
    token_codec = train_token_codec(vectors, 16, 2)
    np.testing.assert_allclose(token_codec.decode(token_codec.encode(vectors)), vectors, atol=1e-5)


@pytest.mark.parametrize(
    ("codebook", "bits", "binary"), [(0, 2, False), (65537, 2, False), (256, 3, False), (256, 2, True)]
)
def test_options_that_do_not_fit_are_refused(codebook, bits, binary) -> None:
    with pytest.raises(InputError):
        train_token_codec(np.ones((4, 4), np.float32), codebook, bits, binary=binary)


@pytest.mark.parametrize(("centroids", "bits"), [(256, 8), (100, 7), (500, 9)])
def test_hamming_distance_follows_the_distance_between_centroids(centroids, bits) -> None:
    rng = np.random.default_rng(1)
    # what centroids of real embeddings are like: a few directions matter most
    vectors = (rng.standard_normal((centroids, 48)) * np.linspace(3, 0.2, 48) ** 2).astype(np.float32)
    pairs = np.triu_indices(centroids, 1)
    distances = pairwise_distances(vectors)[pairs]

    def correlation(numbers: np.ndarray) -> float:
        differing = np.bitwise_count(numbers[:, None] ^ numbers[None, :])[pairs]
        return float(spearmanr(differing, distances).statistic)

    numbers = number_centroids(vectors, bits)
    assert len(np.unique(numbers)) == centroids
    assert numbers.max() < 1 << bits
    by_chance = [abs(correlation(rng.permutation(1 << bits)[:centroids].astype(np.uint16))) for _ in range(5)]
    assert correlation(numbers) > 0.25 + max(by_chance)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 60))
def test_merging_is_wards_clustering(seed, count, groups) -> None:
    groups = min(groups, count)
    vectors = unit(np.random.default_rng(seed), count, 12)
    labels = cluster(vectors, groups)
    assert sorted(set(labels.tolist())) == list(range(groups))
    expected = fcluster(linkage(vectors.astype(np.float64), "ward"), groups, "maxclust")
    together = labels[:, None] == labels[None, :]
    np.testing.assert_array_equal(together, expected[:, None] == expected[None, :])


def test_merged_vectors_are_means_as_long_as_their_members() -> None:
    rng = np.random.default_rng(0)
    centers = unit(rng, 5, 16)
    vectors = np.repeat(centers, 6, axis=0) + 0.01 * rng.standard_normal((30, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    merged, central = merge_vectors(vectors, 5)
    np.testing.assert_allclose(np.linalg.norm(merged, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(central // 6, np.arange(5))
    assert ((merged * centers).sum(axis=1) > 0.99).all()


def test_merging_takes_equal_and_zero_vectors() -> None:
    merged, central = merge_vectors(np.zeros((7, 4), np.float32), 3)
    assert merged.shape == (3, 4)
    assert len(central) == 3
    assert np.isfinite(merged).all()


@given(st.integers(1, 200), st.floats(0.01, 1))
def test_pruning_keeps_the_most_salient(count, keep) -> None:
    saliency = np.random.default_rng(count).random(count)
    kept = keep_salient(saliency, keep)
    assert len(kept) == max(1, int(np.ceil(keep * count - 1e-9)))
    assert (np.diff(kept) > 0).all()
    rest = np.setdiff1d(np.arange(count), kept)
    assert len(rest) == 0 or saliency[kept].min() >= saliency[rest].max()


def twin_entries(centroids: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    distances = ((vectors[:, None] - centroids[None]) ** 2).sum(axis=2)
    nearest = distances.argmin(axis=1)
    found = [vectors.mean(axis=0)]
    for bucket in range(len(centroids)):
        inside = nearest == bucket
        found.append(vectors[inside].mean(axis=0) if inside.any() else vectors[distances[:, bucket].argmin()])
    return np.stack(found)


def test_encodings_are_as_their_twin(collection) -> None:
    fde = train_fde(collection.vectors, collection.offsets, 64, 8)
    entries = bucket_entries(fde.centroids, collection.vectors, collection.offsets)
    expected = np.stack([twin_entries(fde.centroids, document) for document in collection.matrices()])
    np.testing.assert_allclose(entries, expected, atol=1e-5)
    buckets = np.repeat(np.arange(len(fde.counts)), fde.counts)
    encoded = fde.encode_documents(collection.vectors, collection.offsets)
    projected = np.einsum("nrd,rd->nr", expected[:, buckets], fde.bases)
    np.testing.assert_allclose(encoded, projected - projected.mean(axis=0), atol=1e-4)
    query = collection.queries[0]
    nearest = ((query[:, None] - fde.centroids[None]) ** 2).sum(axis=2).argmin(axis=1)
    sums = np.zeros((9, query.shape[1]), np.float32)
    sums[0] = query.sum(axis=0)
    np.add.at(sums, nearest + 1, query)
    np.testing.assert_allclose(fde.encode_query(query), np.einsum("rd,rd->r", sums[buckets], fde.bases), atol=1e-4)
    assert len(load_fde(fde.arrays()).bases) == fde.dimensions


def test_encodings_tell_what_maxsim_would(collection) -> None:
    fde = train_fde(collection.vectors, collection.offsets, 256, 16)
    encoded = fde.encode_documents(collection.vectors, collection.offsets)
    for query in collection.queries:
        assert spearmanr(encoded @ fde.encode_query(query), collection.exact(query)).statistic > 0.5


@pytest.mark.parametrize("dimensions", [1, 7, 64, 1000])
@pytest.mark.parametrize("buckets", [0, 1, 4])
def test_encodings_of_any_size_encode_queries(dimensions, buckets) -> None:
    rng = np.random.default_rng(0)
    vectors, offsets = unit(rng, 400, 16), np.arange(0, 401, 8)
    fde = train_fde(vectors, offsets, dimensions, buckets)
    assert fde.bases.flags.c_contiguous  # kernels compiled ahead of time take nothing else
    assert fde.encode_query(vectors[:3]).shape == (fde.dimensions,)


def test_one_document_encodes() -> None:
    fde = train_fde(np.ones((3, 4), np.float32), np.array([0, 3]), 16, 4)
    assert fde.encode_documents(np.ones((3, 4), np.float32), np.array([0, 3])).shape == (1, fde.dimensions)
