"""The layers of an encoder in torch, for training: with float weights, or with weights and inputs rounded as in the compressed encoder.

Rounding has the gradient of the identity within its range (Bengio et al., 2013); the scales of groups and the steps of rows are
trained (Esser et al., Learned Step Size Quantization, 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vsearch.encoders.bert import PRODUCTS
from vsearch.encoders.functions import rotation
from vsearch.encoders.grids import LARGEST_WEIGHT, TERNARY, Rounded, largest_code
from vsearch.encoders.packing import up_to
from vsearch.encoders.quantized import QuantizedLinear
from vsearch.forking import cached_property
from vsearch.kernels.encoders.fields import GROUP
from vsearch.training.libraries import import_torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vsearch.encoders.bert import Bert, Linear
    from vsearch.encoders.grids import Bits

Tensor = Any
"""A tensor of torch, which may not be installed."""

NEAR_EDGE = 0.49
"""Initial weights may differ from rounded ones by at most this many units of their group."""


class TorchProduct(Protocol):
    """A linear layer."""

    def apply(self, rows: Tensor, *, half: bool = False) -> Tensor:
        """Return outputs (..., out) for inputs (..., in); `half`: with products of bfloat16, which suffice for gradients."""
        ...


@dataclass(frozen=True, eq=False)
class FloatProduct:
    """A linear layer in float32."""

    weight: Tensor
    bias: Tensor

    def apply(self, rows: Tensor, *, half: bool = False) -> Tensor:
        if half:
            return (rows.bfloat16() @ self._half.T).float() + self.bias
        return rows @ self.weight.T + self.bias

    @cached_property
    def _half(self) -> Tensor:
        return self.weight.bfloat16()


class LearnedProduct:
    """A linear layer with rounded weights and inputs, whose weights, scales and bias are trained.

    Parameters
    ----------
    linear : Linear
        The layer of the model.
    start : QuantizedLinear
        The same layer after rounding without training, with which the training starts.
    bits : {8, 4, 3, 2, "ternary"}
    """

    def __init__(self, linear: Linear, start: QuantizedLinear, bits: Bits) -> None:
        torch = import_torch()
        self.bits, self._start = bits, start
        rows, columns = linear.weight.shape
        channels = np.divide(1, start.scales, out=np.zeros_like(start.scales), where=start.scales > 0)
        wide = up_to(columns, GROUP)
        weights = np.zeros((rows, wide), np.float32)
        weights[:, :columns] = linear.weight * channels
        rounded = np.zeros((rows, wide), np.float32)
        rounded[:, :columns] = start.integers
        if start.packed is None:
            self._scales, self._offsets = None, None
            unit = np.ones((rows, 1), np.float32)
        else:
            self._scales = torch.from_numpy(start.packed.scales.astype(np.float32))
            self._offsets = torch.from_numpy(start.packed.offsets.astype(np.float32))
            unit = np.repeat(start.packed.scales.astype(np.float32), GROUP, axis=1)
        near = rounded + np.clip(weights / start.steps[:, None] - rounded, -NEAR_EDGE * unit, NEAR_EDGE * unit)
        self._columns, self._steps = columns, torch.from_numpy(start.steps.copy())[:, None]
        self._inputs = torch.from_numpy(start.scales.copy())
        self._outliers = (
            None
            if start.apart is None
            else (torch.from_numpy(start.apart.columns.astype(np.int64)), torch.from_numpy(start.apart.weights.copy()))
        )
        self.weight = torch.from_numpy(near * start.steps[:, None]).requires_grad_()
        self.bias = torch.from_numpy(linear.bias.copy()).requires_grad_()
        shape = (rows, 1) if self._scales is None else self._scales.shape
        self.growth = torch.zeros(shape).requires_grad_()
        self.shift = torch.zeros(shape).requires_grad_()

    def parameters(self) -> dict[str, Tensor]:
        """Return the trainable parameters by name."""
        learned = {"weight": self.weight, "bias": self.bias, "growth": self.growth}
        return learned if self.bits in (8, TERNARY) else learned | {"shift": self.shift}

    def apply(self, rows: Tensor, exact: Tensor | None = None, *, half: bool = False) -> Tensor:
        """Return outputs (..., out) for inputs (..., in); `exact` (out, 1) marks rows whose weights are not rounded.

        With `half`, products of at most 4 bits are of bfloat16.
        """
        from vsearch.encoders.torch_functions import multiply, round_inputs

        torch = import_torch()
        weights = self._weights()
        if exact is not None:
            weights = torch.where(exact, self.weight, weights)
        codes, weights = round_inputs(rows * self._inputs), weights[:, : self._columns]
        products = multiply(codes, weights) if half and self._scales is not None else codes @ weights.T
        outputs = products + self.bias
        return outputs if self._outliers is None else outputs + rows[..., self._outliers[0]] @ self._outliers[1]

    def _weights(self) -> Tensor:
        """Return the rounded weights (rows, columns)."""
        from vsearch.encoders.torch_functions import round_weights

        if self._scales is None:
            steps, codes = self._steps_and_codes()
            return codes * steps
        scales, offsets = self._groups()
        return round_weights(self.weight, scales * self._steps, offsets * self._steps, largest_code(self.bits))

    def _steps_and_codes(self) -> tuple[Tensor, Tensor]:
        """Return the steps of rows (rows, 1) and the codes, with 8 bits."""
        torch = import_torch()
        steps = self._steps * torch.exp(self.growth)
        return steps, torch.clamp(_round(self.weight / steps), -LARGEST_WEIGHT, LARGEST_WEIGHT)

    def _groups(self) -> tuple[Tensor, Tensor]:
        """Return the scales and offsets of groups, in steps, with fewer than 8 bits."""
        torch = import_torch()
        top = largest_code(self.bits)
        scales = torch.clamp(_round(self._scales * torch.exp(self.growth)), 1, 2 * LARGEST_WEIGHT // top)
        if self.bits == TERNARY:
            return scales, -scales
        offsets = torch.clamp(_round(self._offsets + self.shift * self._scales), min=-LARGEST_WEIGHT)
        return scales, torch.minimum(offsets, LARGEST_WEIGHT - scales * top)

    def quantized(self) -> QuantizedLinear:
        """Return the layer as it was trained."""
        torch = import_torch()
        with torch.no_grad():
            if self._scales is None:
                steps, codes = self._steps_and_codes()
                rounded = Rounded(steps.numpy()[:, 0].copy(), codes.numpy().astype(np.int8))
            else:
                scales, offsets = self._groups()
                step, offset = (scales * self._steps)[..., None], (offsets * self._steps)[..., None]
                # as in `round_weights`, to the bit
                units = torch.sub(self.weight.view(len(self.weight), -1, GROUP), offset).mul_(1 / step)
                codes = units.round_().clamp_(0, largest_code(self.bits)).view_as(self.weight)
                rounded = Rounded(
                    self._steps.numpy()[:, 0].copy(),
                    codes.numpy().astype(np.uint8),
                    scales.numpy().astype(np.uint8),
                    offsets.numpy().astype(np.int8),
                )
        return QuantizedLinear.of(
            rounded, self.bits, self.bias.detach().numpy().copy(), self._start.scales, self._start.apart
        )


class TorchEncoder:
    """The layers of an encoder, with linear layers of one kind.

    Parameters
    ----------
    model : Bert
        Has the sizes, the normalizations and the dense modules.
    products : dict
        Linear layers by layer and name.
    learns : bool
        Whether the normalizations are trained.
    """

    def __init__(self, model: Bert[Any], products: dict[tuple[int, str], Any], *, learns: bool = False) -> None:
        torch = import_torch()
        self.sizes, self.products = model.architecture, products
        norms = {"embedding": model.embedding_norm, "final": model.final_norm}
        for number, layer in enumerate(model.layers):
            norms |= {f"{number}.attention": layer.attention_norm, f"{number}.output": layer.output_norm}
        self.norms = {
            f"{name}.{part}": torch.from_numpy(getattr(norm, part).copy()).requires_grad_(learns)
            for name, norm in norms.items()
            if norm is not None
            for part in ("weight", "bias")
        }
        self._dense = [
            FloatProduct(torch.from_numpy(dense.weight), torch.from_numpy(dense.bias)) for dense in model.dense
        ]

    @classmethod
    def of_floats(cls, model: Bert[Linear]) -> TorchEncoder:
        """Return the layers of a float model."""
        torch = import_torch()
        products = {
            (number, name): FloatProduct(*map(torch.from_numpy, layer.product(name)))
            for number, layer in enumerate(model.layers)
            for name in PRODUCTS
        }
        return cls(model, products)

    def run(self, batch: Batch, exact: dict[tuple[int, str], Tensor] | None = None, *, half: bool = False) -> Outputs:
        """Run a batch of texts through all layers; `exact` and `half` as for `LearnedProduct.apply`."""
        torch = import_torch()
        sizes, exact_products = self.sizes, exact or {}

        def call(layer: int, name: str, rows: Tensor) -> Tensor:
            product = self.products[layer, name]
            at = exact_products.get((layer, name))
            return product.apply(rows, half=half) if at is None else product.apply(rows, at, half=half)

        gelu = torch.nn.functional.gelu
        rows = self._normalize("embedding", batch.embedded)
        attended, shares, layers = [], [], []
        for number in range(sizes.layers):
            inputs = self._normalize(f"{number}.attention", rows) if sizes.rotary else rows
            outputs, share = self._attend(number, call(number, "attention", inputs), batch.known)
            attended.append(outputs)
            shares.append(share)
            rows = rows + call(number, "joined", outputs)
            if sizes.rotary:
                value, gate = call(number, "up", self._normalize(f"{number}.output", rows)).chunk(2, dim=-1)
                rows = rows + call(number, "down", gelu(value) * gate)
            else:
                rows = self._normalize(f"{number}.attention", rows)
                rows = rows + call(number, "down", gelu(call(number, "up", rows)))
                rows = self._normalize(f"{number}.output", rows)
            layers.append(rows)
        return Outputs(self._pool(self._normalize("final", rows), batch.known), attended, shares, layers)

    def _normalize(self, name: str, rows: Tensor) -> Tensor:
        weight = self.norms.get(f"{name}.weight")
        if weight is None:
            return rows
        torch = import_torch()
        return torch.nn.functional.layer_norm(
            rows, rows.shape[-1:], weight, self.norms[f"{name}.bias"], self.sizes.epsilon
        )

    def _attend(self, layer: int, joined: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs (b, t, width) of attention, and the logarithms (b, heads, t, t) of the attention weights."""
        torch = import_torch()
        texts, tokens = known.shape
        query, key, value = joined.reshape(texts, tokens, 3, self.sizes.heads, -1).permute(2, 0, 3, 1, 4)
        visible = known[:, None, None, :]
        if self.sizes.rotary:
            base, distance = self.sizes.rotary[layer]
            cosines, sines = torch.from_numpy(rotation(tokens, query.shape[-1] // 2, base))
            query, key = _rotate(query, cosines, sines), _rotate(key, cosines, sines)
            places = torch.arange(tokens)
            if distance:
                visible = visible & ((places[:, None] - places).abs() <= distance)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        logarithms = torch.log_softmax(scores.masked_fill(~visible, -1e30), dim=-1)
        outputs = logarithms.exp() @ value
        return outputs.transpose(1, 2).reshape(texts, tokens, -1), logarithms

    def _pool(self, rows: Tensor, known: Tensor) -> Tensor:
        torch = import_torch()
        if self.sizes.pooling == "cls":
            vectors = rows[:, 0]
        else:
            weights = known[:, :, None].to(rows.dtype)
            vectors = (rows * weights).sum(dim=1) / weights.sum(dim=1)
        for product, (_, activation) in zip(self._dense, self.sizes.dense, strict=True):
            vectors = product.apply(vectors)
            vectors = torch.tanh(vectors) if activation == "tanh" else vectors
        return torch.nn.functional.normalize(vectors, dim=-1) if self.sizes.normalized else vectors


@dataclass(frozen=True, eq=False)
class Batch:
    """Texts of one batch, padded to the longest.

    Attributes
    ----------
    embedded : float32 (b, t, width)
        Token embeddings, with those of positions.
    known : bool (b, t)
        Positions that hold a token rather than padding.
    """

    embedded: Tensor
    known: Tensor

    @classmethod
    def of(cls, model: Bert[Any], texts: Sequence[list[int]]) -> Batch:
        torch = import_torch()
        longest = max(map(len, texts))
        embedded: NDArray[np.float32] = np.zeros((len(texts), longest, model.architecture.width), np.float32)
        known = np.zeros((len(texts), longest), bool)
        for row, ids in enumerate(texts):
            embedded[row, : len(ids)], known[row, : len(ids)] = model.look_up(ids), True
        return cls(torch.from_numpy(embedded), torch.from_numpy(known))

    @cached_property
    def pairs(self) -> Tensor:
        """Pairs of positions that both hold a token, bool (b, 1, t, t)."""
        return self.known[:, None, :, None] & self.known[:, None, None, :]


@dataclass(frozen=True, eq=False)
class Outputs:
    """The outputs for a batch.

    Attributes
    ----------
    vectors : float32 (b, dimensions)
    attended : list of float32 (b, t, width)
        Outputs of attention by layer.
    shares : list of float32 (b, heads, t, t)
        Logarithms of the attention weights by layer.
    layers : list of float32 (b, t, width)
        Outputs of the layers.
    """

    vectors: Tensor
    attended: list[Tensor]
    shares: list[Tensor]
    layers: list[Tensor]


def _round(values: Tensor) -> Tensor:
    """Round, with the gradient of the identity."""
    return values + (values.round() - values).detach()


def _rotate(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    torch = import_torch()
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)
