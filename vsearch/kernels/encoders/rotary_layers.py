"""All layers of a text encoder with rotary positions, local attention and gates, for the tokens of one text.

Each text is processed alone and by one thread, so its vector is bitwise identical in any batch.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.encoders.fields import LANES, NORMS, LayerField
from vsearch.kernels.encoders.functions import gelu, layer_norm, soften
from vsearch.kernels.encoders.layers import PRODUCT_BYTES, apply
from vsearch.kernels.encoders.products import weigh
from vsearch.kernels.toolchain.compiling import kernel, part

FAR = np.float32(-1e30)
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


@part
def attend_near(joined, heads, distance, keys, scores, total, received, outputs):
    """Multi-head attention of each token of a text to the tokens within a distance.

    Parameters
    ----------
    joined : float32 (t, >= 3 * width)
        Query, key and value of each token.
    heads, distance : int
    keys, scores, total : float32 (width / heads, T), (T,) and (16,), T being t rounded up to 16
        Scratch.
    received : float32 (T,)
        Output: the attention that each token receives from all tokens, summed over heads.
    outputs : float32 (t, width)
        Output.
    """
    for token in range(received.shape[0]):
        received[token] = np.float32(0.0)
    tokens, width = outputs.shape
    head_width, columns = width // heads, keys.shape[1]
    scale = np.float32(1.0) / np.sqrt(np.float32(head_width))
    vectorized = head_width - head_width % LANES
    for head in range(heads):
        query, key, value = head * head_width, width + head * head_width, 2 * width + head * head_width
        for i in range(head_width):
            for token in range(tokens):
                keys[i, token] = joined[token, key + i] * scale
            for token in range(tokens, columns):
                keys[i, token] = np.float32(0.0)
        for token in range(tokens):
            first, last = max(0, token - distance), min(tokens, token + distance + 1)
            begin = first - first % LANES
            end = last + (LANES - last % LANES) % LANES
            for start in range(begin, end, LANES):
                weigh(joined[token, query : query + head_width], keys, start, head_width, scores[start : start + LANES])
            for other in range(begin, first):
                scores[other] = FAR
            near = scores[begin:end]
            soften(near, last - begin)
            for other in range(begin, first):
                scores[other] = np.float32(0.0)
            for other in range(begin, last):
                received[other] += scores[other]
            for start in range(0, vectorized, LANES):
                place = head * head_width + start
                weigh(near, joined[begin:], value + start, last - begin, outputs[token, place : place + LANES])
            for i in range(vectorized, head_width):
                total[0] = np.float32(0.0)
                for other in range(first, last):
                    total[0] += scores[other] * joined[other, value + i]
                outputs[token, head * head_width + i] = total[0]


@kernel
def run_rotary_layers(
    settings, epsilon, norms, turns, rows, attended, wide, inner, gated, codes, inner_codes, keys, scores, small, sums
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
    attended, wide, inner, gated : float32 (t, width), (t, 3 * width), (t, inner), (t, 2 * inner)
        Scratch.
    codes, inner_codes, keys, scores, small, sums
        See `run_layers`; `scores` is also an output.
    """
    tokens, width = rows.shape
    bounds, total, factors = small[:2], small[2], small[3:]
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
        apply(at, attended, codes, factors, bounds, sums, gated, 0, wide)
        turn(wide, heads, turns[2 * base], turns[2 * base + 1])
        attend_near(wide, heads, distance, keys, scores[0], total, scores[1], attended)
        apply(at + PRODUCT_BYTES, attended, codes, factors, bounds, sums, gated, 0, wide)
        for token in range(tokens):
            for column in range(width):
                rows[token, column] += wide[token, column]
                attended[token, column] = rows[token, column]
            layer_norm(attended[token], norms[2 + NORMS * layer], epsilon)
        apply(at + 2 * PRODUCT_BYTES, attended, codes, factors, bounds, sums, wide, 0, gated)
        for token in range(tokens):
            for column in range(half):
                inner[token, column] = gelu(gated[token, column]) * gated[token, half + column]
        apply(at + 3 * PRODUCT_BYTES, inner, inner_codes, factors, bounds, sums, wide, width, wide)
        for token in range(tokens):
            for column in range(width):
                rows[token, column] += wide[token, column]
    for token in range(tokens):
        layer_norm(rows[token], norms[1 + NORMS * layers], epsilon)
