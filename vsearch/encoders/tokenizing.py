"""What models need of a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Tokenizer(Protocol):
    """Splits texts into tokens."""

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """Ids of the tokens."""
        ...

    def encode(self, text: str, limit: int) -> list[int]:
        """Return the token ids of a text, truncated to `limit` ids including the first and the last."""
        ...
