"""Rounding and products in torch, with gradients written out: several times faster than those derived by torch.

Import it late, as torch may not be installed.
"""

from __future__ import annotations

from typing import Any

from vsearch.encoders.quantized import LEVELS
from vsearch.kernels.encoders.fields import GROUP
from vsearch.training.libraries import import_torch

torch: Any = import_torch()

Tensor = Any


def round_weights(weights: Tensor, scales: Tensor, offsets: Tensor, top: int) -> Tensor:
    """Round weights to ``scale * code + offset``, with codes from 0 to `top`.

    Parameters
    ----------
    weights : float32 (rows, columns)
    scales, offsets : float32 (rows, columns / 32)
        Of each group, in the unit of the weights.

    Returns
    -------
    float32 (rows, columns)
        The gradient of rounding is the identity, also at the first and the last code; weights beyond them have none.
    """
    return _RoundWeights.apply(weights, scales, offsets, top)


def round_inputs(rows: Tensor) -> Tensor:
    """Round each row to 8 bits between its minimum and maximum, with the gradient of the identity."""
    return _RoundInputs.apply(rows)


def multiply(rows: Tensor, weights: Tensor) -> Tensor:
    """Return the products float32 (..., out) of rows (..., in) and weights (out, in), both rounded to bfloat16.

    Their gradients are products of bfloat16 too. Sums are in float32.
    """
    return _Multiply.apply(rows, weights)


def multiplies_fast() -> bool:
    """Whether this processor has instructions for products of bfloat16."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


class _RoundWeights(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, weights: Tensor, scales: Tensor, offsets: Tensor, top: int) -> Tensor:
        scale, offset = scales[..., None], offsets[..., None]
        units = torch.sub(weights.view(len(weights), -1, GROUP), offset).mul_(1 / scale)
        codes = units.round().clamp_(0, top)
        ctx.save_for_backward(units, codes)
        return torch.addcmul(offset, codes, scale).view_as(weights)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        units, codes = ctx.saved_tensors
        gradient, errors = gradient.view_as(units), codes - units
        beyond = errors.abs() > 0.5
        clipped = gradient * beyond
        of_scales = (gradient * torch.where(beyond, codes, errors)).sum(dim=-1)
        return (gradient - clipped).view(len(gradient), -1), of_scales, clipped.sum(dim=-1), None


class _RoundInputs(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(_ctx: Any, rows: Tensor) -> Tensor:
        low, high = torch.aminmax(rows, dim=-1, keepdim=True)
        step = (high - low) / LEVELS
        codes = torch.sub(rows, low).div_(torch.where(step > 0, step, 1)).add_(0.5).floor_().clamp_(max=LEVELS)
        return codes.mul_(step).add_(low)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _Multiply(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: Tensor) -> Tensor:
        half_rows, half_weights = rows.bfloat16(), weights.bfloat16()
        ctx.save_for_backward(half_rows, half_weights)
        return (half_rows @ half_weights.T).float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        rows, weights = ctx.saved_tensors
        half = gradient.bfloat16()
        of_weights = half.flatten(end_dim=-2).T @ rows.flatten(end_dim=-2)
        return (half @ weights).float(), of_weights.float()
