"""What a record says of a quantizer before anything is trained: see `vsearch.quantizers.registry`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vsearch.metrics import METRICS
from vsearch.quantizers.protocol import Quantizer, Scan

Loader = Callable[[Mapping[str, Any], Mapping[str, NDArray[Any]]], Quantizer]


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """A sample to train on, float32 (n, d), n >= 1: the vectors as queries will meet them, and their residuals to the centroids."""

    vectors: NDArray[np.float32]
    residuals: NDArray[np.float32]


@dataclass(frozen=True)
class Forecast:
    """What the codes will take, told from the dimensions alone.

    Attributes
    ----------
    scan : {"nibbles", "bytes", "cells"}
    code_bytes : int
        Of a vector, about: the codec may round the bytes of its planes up.
    factor_bytes : int
        Of a vector: 2 for each stage, 0 for cells.
    model_floats : int
        Of the codec, besides its rotation.
    """

    scan: Scan
    code_bytes: int
    factor_bytes: int
    model_floats: int = 0


class Specification(Protocol):
    """What is to be trained: a quantizer with its options."""

    def check(self, dimensions: int, /) -> None:
        """Refuse vectors that it is not for.

        Raises
        ------
        InputError
        """
        ...

    def forecast(self, dimensions: int, /) -> Forecast: ...

    def train(self, rows: TrainingRows, seed: int, /) -> Quantizer: ...


@dataclass(frozen=True)
class QuantizerRecord:
    """A quantizer, as building and reading know it.

    Attributes
    ----------
    name : str
        What users, manifests and `Quantizer.name` call it.
    from_bits : callable
        The specification for so many bits per dimension on average, and so many dimensions.
    load : callable
        Makes a trained codec again from its configuration and arrays; KeyError, TypeError, ValueError or OverflowError where
        they do not make one that kernels can be given.
    given : type, optional
        The class of its specifications, where users may give one instead of the name.
    metrics : tuple of str
        What it can be built for.
    refusal : str
        What is said where it is asked to be built for another metric.
    rerank : str or None
        What "auto" stands for.
    least_rows : int
        Rows that it wants to be trained on, where there are so many.
    """

    name: str
    from_bits: Callable[[float, int], Specification]
    load: Loader
    given: type | None = None
    metrics: tuple[str, ...] = METRICS
    refusal: str = ""
    rerank: str | None = "int8"
    least_rows: int = 0
