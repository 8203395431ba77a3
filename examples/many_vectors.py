"""Multi-vector documents: one vector per word, MaxSim search under a filter, and which words matched.

A real encoder, such as ColBERT, computes these vectors from words in context. Here a word's vector is computed from its groups of
three letters, so that nothing has to be downloaded: words that share letters are near each other.

Run it with ``python examples/many_vectors.py``.
"""

from __future__ import annotations

import re
import tempfile
import zlib

import numpy as np
from numpy.typing import NDArray

import vsearch

DIMENSIONS = 128
DOCUMENTS = 2000


def words(text: str) -> list[str]:
    """Return the longer words of a text, in lower case; the whole text if there are none."""
    return re.findall(r"[a-z]{4,}", text.lower()) or [text]


def encode(text: str) -> NDArray[np.float32]:
    """Return one unit vector per word, float32 (words, dimensions)."""
    vectors = np.zeros((len(words(text)), DIMENSIONS), np.float32)
    for vector, word in zip(vectors, words(text), strict=True):
        for letters in re.findall(r"(?=(.{1,3}))", f"<{word}>"):
            vector[zlib.crc32(letters.encode()) % DIMENSIONS] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    """Print the best documents for one query, and the word that matched each of its words."""
    attributes = vsearch.datasets.load("wordnet-10k").attributes.slice(0, DOCUMENTS)
    texts = attributes["text"].to_pylist()
    query = "feeding nutrients through tubes"
    with tempfile.TemporaryDirectory() as folder:
        index = vsearch.build_documents(
            [encode(text) for text in texts], None, f"{folder}/words", attributes=attributes
        )
        sizes = index.info()["documents"]
        print(f"{len(index)} documents, {sizes['bytes_per_document']:.0f} bytes each", end=", ")
        print(f"{sizes['ratio_to_float16']:.1f} times smaller than float16\n")
        hits = index.search_documents(encode(query), k=3, where="pos = 'noun'", matches=True)
        print(f"{query!r} WHERE pos = 'noun'")
        for document, score, positions in zip(hits.ids[0], hits.scores[0], hits.matches[0].positions, strict=True):
            found = words(texts[document])
            pairs = [f"{word}: {found[place]}" for word, place in zip(words(query), positions, strict=True)]
            print(f"  {score:.2f}  {texts[document]}\n        {', '.join(pairs)}")


if __name__ == "__main__":
    main()
