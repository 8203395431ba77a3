"""All layers of a text encoder with rotary positions, local attention and gates, for the tokens of one text.

Each text is processed alone and by one thread, so its vector is bitwise identical in any batch.
"""

from __future__ import annotations

from vsearch.kernels.encoders.attention import attend
from vsearch.kernels.encoders.fields import ATTENDING, NORMS, LayerField
from vsearch.kernels.encoders.functions import gelu, layer_norm
from vsearch.kernels.encoders.layers import PRODUCT_BYTES, apply
from vsearch.kernels.toolchain.compiling import kernel, part

PRODUCTS, HEADS, BASE = int(LayerField.PRODUCTS), int(LayerField.HEADS), int(LayerField.BASE)
DISTANCE, NORMED = int(LayerField.DISTANCE), int(LayerField.NORMED)


@part
def turn(joined, heads, cosines, sines):
    """Turn queries and keys by angles that depend on the position, in place; see `vsearch.encoders.functions.rotate`.

    Parameters
    ----------
    joined : float32 (t, >= 2 * heads * 2 * pairs)
        Query, key and more of each token.
    heads : int
    cosines, sines : float32 (>= t, pairs)
    """
    pairs = cosines.shape[1]
    for token in range(joined.shape[0]):
        for head in range(2 * heads):
            at = head * 2 * pairs
            for i in range(pairs):
                first, second = joined[token, at + i], joined[token, at + pairs + i]
                joined[token, at + i] = first * cosines[token, i] - second * sines[token, i]
                joined[token, at + pairs + i] = second * cosines[token, i] + first * sines[token, i]


@kernel
def run_rotary_layers(
    settings,
    epsilon,
    norms,
    turns,
    rows,
    attended,
    wide,
    inner,
    gated,
    codes,
    inner_codes,
    keys,
    scores,
    small,
    sums,
):
    """Run the tokens of a text through all layers.

    Parameters
    ----------
    settings : int64 (layers, 5)
        See `LayerField`. A product has no more outlier columns than width and inner.
    epsilon : float
    norms : float32 (2 + 2 * layers, 2, width)
        Weight and bias of the embedding normalization, of the normalizations before attention and before the feed-forward network
        of each layer, and of the final one.
    turns : float32 (2 * bases, t, width / heads / 2)
        Cosines and sines of the angles of rotary positions.
    rows : float32 (t, width)
        Token embeddings; overwritten with the output.
    attended, wide, inner : float32 (t, width), (t, 3 * width), (t, inner)
        Scratch.
    gated : float32 (t + 1, the larger of width and 2 * inner)
        Scratch.
    codes, inner_codes : uint8 (t, width rounded up), (t, inner rounded up)
        Scratch.
    keys : float32 (width / heads, T), T being t rounded up to 16
        Scratch.
    scores : float32 (5, T)
        Scratch, and in the last row output: the attention that each token receives in the last layer, summed over tokens and heads.
    small, sums : float32 (2 + t, 16), int32 (6, 64)
        Scratch.
    """
    tokens, width = rows.shape
    bounds, factors, scaled = small[:2], small[2:], gated[tokens]
    layers, half = settings.shape[0], inner.shape[1]
    for token in range(tokens):
        layer_norm(rows[token], norms[0], epsilon)
    for layer in range(layers):
        at, heads = settings[layer, PRODUCTS], settings[layer, HEADS]
        base, distance = settings[layer, BASE], settings[layer, DISTANCE]
        for token in range(tokens):
            for column in range(width):
                attended[token, column] = rows[token, column]
            if settings[layer, NORMED] != 0:
                layer_norm(attended[token], norms[1 + NORMS * layer], epsilon)
        apply(at, attended, scaled, codes, factors, bounds, sums, gated, 0, wide)
        turn(wide, heads, turns[2 * base], turns[2 * base + 1])
        attend(wide, heads, distance, keys, scores[:ATTENDING], layer == layers - 1, scores[ATTENDING], attended)
        apply(at + PRODUCT_BYTES, attended, scaled, codes, factors, bounds, sums, gated, 0, wide)
        for token in range(tokens):
            for column in range(width):
                rows[token, column] += wide[token, column]
                attended[token, column] = rows[token, column]
            layer_norm(attended[token], norms[2 + NORMS * layer], epsilon)
        apply(at + 2 * PRODUCT_BYTES, attended, scaled, codes, factors, bounds, sums, wide, 0, gated)
        for token in range(tokens):
            for column in range(half):
                inner[token, column] = gelu(gated[token, column]) * gated[token, half + column]
        apply(at + 3 * PRODUCT_BYTES, inner, scaled, inner_codes, factors, bounds, sums, wide, width, wide)
        for token in range(tokens):
            for column in range(width):
                rows[token, column] += wide[token, column]
    for token in range(tokens):
        layer_norm(rows[token], norms[1 + NORMS * layers], epsilon)
