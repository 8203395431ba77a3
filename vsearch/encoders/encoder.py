"""Encoders: what turns texts into vectors, whatever its weights are stored as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vsearch.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vsearch.encoders.architecture import Architecture
    from vsearch.encoders.wordpiece import WordPiece


class Model(Protocol):
    """A model that makes vectors of tokens."""

    @property
    def architecture(self) -> Architecture: ...

    @property
    def tokenizer(self) -> WordPiece: ...

    def embed(self, texts: Sequence[list[int]]) -> NDArray[np.float32]:
        """Vectors float32 (m, dimensions) of texts by their tokens' ids, each computed alone."""
        ...


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """Turns texts into vectors.

    Attributes
    ----------
    model : Model
        Each text runs through it alone, so its vector does not depend on other texts.
    """

    model: Model

    @property
    def dimensions(self) -> int:
        """Dimensions of a vector."""
        return self.model.architecture.dimensions

    def encode(self, texts: str | Sequence[str], prompt: str | None = None) -> NDArray[np.float32]:
        """Vectors of texts.

        Parameters
        ----------
        texts : str or sequence of str
            Tokens beyond the model's length limit are cut off.
        prompt : str, optional
            Name of the model's prompt that is put before each text; by default the one that the model has for queries,
            if any. ``""`` for none.

        Returns
        -------
        float32 (m, dimensions)
            One row for each text.

        Raises
        ------
        InputError
            Texts are not strings, or there is no such prompt.
        """
        architecture, tokenizer = self.model.architecture, self.model.tokenizer
        before = architecture.find_prompt(prompt)
        return self.model.embed([tokenizer.encode(before + text, architecture.length) for text in check_texts(texts)])


def check_texts(texts: Any) -> list[str]:
    """The texts as a list; InputError where they are no texts."""
    if isinstance(texts, str):
        return [texts]
    if not isinstance(texts, Sequence) or isinstance(texts, bytes):
        raise InputError(f"texts must be a string or a sequence of strings, got {type(texts).__name__}")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {row} must be a string, got {type(text).__name__}")
    return list(texts)
