"""Records that describe quantizers before training; see `vsearch.quantizers.registry`."""

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
    """A training sample, float32 (n, d), n >= 1: vectors in the space that is searched, and residuals to centroids."""

    vectors: NDArray[np.float32]
    residuals: NDArray[np.float32]


@dataclass(frozen=True)
class Forecast:
    """The size of codes, predicted from the number of dimensions.

    Attributes
    ----------
    scan : {"nibbles", "bytes", "cells"}
    code_bytes : int
        Approximate bytes of a vector's code: the codec may round up the bytes of its planes.
    factor_bytes : int
        Bytes of a vector's factors: 2 per stage, 0 for cells.
    model_floats : int
        Number of floats in the codec, without its rotation.
    """

    scan: Scan
    code_bytes: int
    factor_bytes: int
    model_floats: int = 0


class Specification(Protocol):
    """The options of a quantizer to train."""

    def check(self, dimensions: int, /) -> None:
        """Reject an unsupported number of dimensions.

        Raises
        ------
        InputError
            The quantizer does not support this number of dimensions.
        """
        ...

    def forecast(self, dimensions: int, /) -> Forecast: ...

    def train(self, rows: TrainingRows, seed: int, /) -> Quantizer: ...


@dataclass(frozen=True)
class QuantizerRecord:
    """A quantizer, as builds and readers see it.

    Attributes
    ----------
    name : str
        Its name in the API, in manifests and in `Quantizer.name`.
    from_bits : callable
        ``from_bits(bits, dimensions)`` -> the specification for an average number of bits per dimension.
    load : callable
        Restores a trained codec from its configuration and arrays; raises KeyError, TypeError, ValueError or
        OverflowError if they do not define a codec that is safe for kernels.
    options_type : type, optional
        The class of its specifications, if users may pass one instead of the name.
    metrics : tuple of str
        The metrics that it supports.
    refusal : str
        The error message for another metric.
    rerank : str or None
        The rerank codes that "auto" selects.
    least_rows : int
        Minimum number of training rows, if the data has that many.
    """

    name: str
    from_bits: Callable[[float, int], Specification]
    load: Loader
    options_type: type | None = None
    metrics: tuple[str, ...] = METRICS
    refusal: str = ""
    rerank: str | None = "int8"
    least_rows: int = 0
