"""The interface of text encoders."""

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
    """A model that turns tokens into vectors."""

    @property
    def architecture(self) -> Architecture: ...

    @property
    def tokenizer(self) -> WordPiece: ...

    def embed(self, texts: Sequence[list[int]]) -> NDArray[np.float32]:
        """Return vectors float32 (m, dimensions) of texts, given as token ids; each is computed separately."""
        ...


@dataclass(frozen=True, eq=False)
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
        architecture, tokenizer = self.model.architecture, self.model.tokenizer
        before = architecture.find_prompt(prompt)
        return self.model.embed([tokenizer.encode(before + text, architecture.length) for text in check_texts(texts)])


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
