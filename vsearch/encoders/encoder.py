"""The interface of text encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vsearch.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.encoders.architecture import Architecture
    from vsearch.encoders.tokenizing import Tokenizer


class Model(Protocol):
    """A model that turns tokens into vectors."""

    @property
    def architecture(self) -> Architecture: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def embed(self, texts: Sequence[list[int]]) -> NDArray[np.float32]:
        """Return vectors float32 (m, dimensions) of texts, given as token ids; each is computed separately."""
        ...

    def embed_tokens(self, ids: list[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the vectors float32 (t, dimensions) of the tokens of a text, and their saliency float32 (t,)."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class TokenVectors:
    """Vectors of the tokens of texts, for multi-vector documents.

    Attributes
    ----------
    vectors : list of float32 (t, dimensions)
        One matrix per text. Its first and last row belong to the special tokens around the text.
    saliency : list of float32 (t,)
        The attention that each token receives from all tokens of its text in the last layer, averaged over the heads; the sum is
        the number of tokens.
    ids : list of int64 (t,)
        Ids of the tokens in the vocabulary.
    """

    vectors: list[NDArray[np.float32]]
    saliency: list[NDArray[np.float32]]
    ids: list[NDArray[np.int64]]


@dataclass(frozen=True, eq=False, repr=False)
class TextEncoder:
    """Encodes texts as vectors.

    Attributes
    ----------
    model : Model
        Texts are encoded one by one, so vectors do not depend on other texts.
    """

    model: Model

    @property
    def dimensions(self) -> int:
        """Number of dimensions of the vectors."""
        return self.model.architecture.dimensions

    def encode(self, texts: str | Sequence[str], prompt: str | None = None) -> NDArray[np.float32]:
        """Encode texts.

        Parameters
        ----------
        texts : str or sequence of str
            Texts beyond the model's length limit are truncated.
        prompt : str, optional
            Name of the prompt that is prepended to each text; by default the model's prompt for queries, if it has one. Pass
            ``""`` for none.

        Returns
        -------
        float32 (m, dimensions)
            One row per text.

        Raises
        ------
        InputError
            Texts are not strings, or the prompt does not exist.
        """
        return self.model.embed(self._tokenize(texts, prompt))

    def encode_tokens(self, texts: str | Sequence[str], prompt: str | None = None) -> TokenVectors:
        """Encode every token of texts, for `vsearch.build_documents` and `Index.search_documents`.

        Parameters
        ----------
        texts, prompt
            As for `encode`. Pass ``prompt=""`` or the name of the document prompt for texts that are not queries.

        Returns
        -------
        TokenVectors
            Outputs of the last layer, after the dense modules and normalization that the model applies to the vectors of texts.
            Each text is encoded separately, so its vectors do not depend on other texts.

        Raises
        ------
        InputError
            Texts are not strings, or the prompt does not exist.

        Notes
        -----
        A model that was trained to give one vector per text is not a late-interaction model: its token vectors are usable, but
        rank worse than those of a model trained for them, such as ColBERT.
        """
        ids = self._tokenize(texts, prompt)
        encoded = [self.model.embed_tokens(text) for text in ids]
        return TokenVectors(
            [vectors for vectors, _ in encoded],
            [saliency for _, saliency in encoded],
            [np.array(text, np.int64) for text in ids],
        )

    def _tokenize(self, texts: Any, prompt: str | None) -> list[list[int]]:
        architecture, tokenizer = self.model.architecture, self.model.tokenizer
        before = architecture.find_prompt(prompt)
        return [tokenizer.encode(before + text, architecture.length) for text in check_texts(texts)]


def check_texts(texts: Any) -> list[str]:
    """Return texts as a list.

    Raises
    ------
    InputError
        They are not strings.
    """
    if isinstance(texts, str):
        return [texts]
    if not isinstance(texts, Sequence) or isinstance(texts, bytes):
        raise InputError(f"texts must be a string or a sequence of strings, got {type(texts).__name__}")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {row} must be a string, got {type(text).__name__}")
    return list(texts)
