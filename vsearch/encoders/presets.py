"""Named recipes for training compressed encoders."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from vsearch.encoders.grids import TERNARY
from vsearch.errors import InputError

if TYPE_CHECKING:
    from vsearch.encoders.grids import Bits


@dataclass(frozen=True)
class Preset:
    """How a compressed encoder is trained.

    Attributes
    ----------
    weights, table : bits
        Bits of the linear layers, which are trained, and of the token table, which is not.
    kept : float
        Fraction of the layers that is kept.
    compared : {"shares", "attention", "layers"}
        What of each layer is compared with the model: its attention weights (Kullback-Leibler divergence), the outputs of its
        attention (cosine), or its outputs (squared error, relative to their squares).
    weight : float
        Factor of this part of the loss at the start; it decreases linearly to 0.
    noise : float
        Fraction of the rows of a linear layer that are not rounded in a step, so that their gradients are exact.
    rate : float
        Highest learning rate.
    """

    weights: Bits
    table: Bits
    kept: float
    compared: Literal["shares", "attention", "layers"]
    weight: float
    noise: float
    rate: float

    def layers(self, count: int) -> int:
        """Return the number of layers that are kept of `count`."""
        return ceil(self.kept * count)


PRESETS = MappingProxyType(
    {
        # Zhao et al., Self-Distilled Quantization: Achieving High Compression Rates in Transformer-Based Language Models, 2023
        "sdq8": Preset(weights=8, table=8, kept=1, compared="shares", weight=1, noise=0.5, rate=2e-5),
        # Tang et al., MKQ-BERT: Quantized BERT with 4-bits Weights and Activations, 2022; activations have 8 bits here
        "mkq4": Preset(weights=4, table=4, kept=1, compared="layers", weight=1, noise=0, rate=1e-4),
        # Wu et al., Extreme Compression for Pre-trained Transformers Made Simple and Efficient, 2022: one long stage
        "xtc-ternary": Preset(weights=TERNARY, table=4, kept=0.5, compared="layers", weight=1, noise=0, rate=1e-3),
    }
)
"""Recipes by name."""


def find_preset(name: object) -> Preset:
    """Return a preset by name.

    Raises
    ------
    InputError
        There is no preset with this name.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]
