"""All layers of a text encoder, for the tokens of one text.

Each text is processed alone and by one thread, so its vector is bitwise identical in any batch.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.encoders.attention import attend
from vsearch.kernels.encoders.fields import ATTENDING, BLOCK, LANES, NORMS, PRODUCTS, TOKENS, LayersField, ProductField
from vsearch.kernels.encoders.functions import gelu, layer_norm
from vsearch.kernels.encoders.products import multiply
from vsearch.kernels.encoders.rounding import quantize, settle
from vsearch.kernels.toolchain.compiling import inlined, kernel, part
from vsearch.kernels.toolchain.views import ArrayField, view

PRODUCT_BYTES = 8 * len(ProductField)

product_at = view(
    "Product",
    ProductField,
    {
        "weights": ArrayField("int8", ("blocks", "block_bytes")),
        "steps": ArrayField("float32", ("rows",)),
        "bias": ArrayField("float32", ("rows",)),
        "sums": ArrayField("int32", ("rows",)),
        "scales": ArrayField("float32", ("columns",)),
        "apart_columns": ArrayField("int32", ("apart",)),
        "apart_weights": ArrayField("float32", ("apart", "rows")),
    },
)


layers_at = view(
    "Layers",
    LayersField,
    {
        "epsilon": ArrayField("float32", (1,)),
        "norms": ArrayField("float32", ("norm_count", 2, "width")),
        "rows": ArrayField("float32", ("tokens", "width")),
        "attended": ArrayField("float32", ("tokens", "width")),
        "wide": ArrayField("float32", ("tokens", "wide_width")),
        "inner": ArrayField("float32", ("tokens", "inner_width")),
        "codes": ArrayField("uint8", ("tokens", "codes_width")),
        "inner_codes": ArrayField("uint8", ("tokens", "inner_codes_width")),
        "keys": ArrayField("float32", ("head_width", "columns")),
        "scores": ArrayField("float32", (ATTENDING, "columns")),
        "received": ArrayField("float32", ("columns",)),
        "factors": ArrayField("float32", ("tokens", 2)),
        "bounds": ArrayField("float32", (2, LANES)),
        "sums": ArrayField("int32", (TOKENS, BLOCK)),
        "scaled": ArrayField("float32", ("scaled_width",)),
        "ids": ArrayField("int32", ("tokens",)),
        "table_codes": ArrayField("int8", ("table_tokens", "width")),
        "table_steps": ArrayField("float32", ("table_tokens",)),
        "positions": ArrayField("float32", ("position_count", "width")),
        "vector": ArrayField("float32", ("width",)),
    },
)


@part
def apply(address, inputs, scaled, codes, factors, bounds, sums, apart, first_apart, outputs):
    """Multiply the token rows of a text by a weight matrix.

    Inputs of outlier columns (`apart`), whose scales are 0, are multiplied by float weights.

    Parameters
    ----------
    address : int
        Address of a block of `ProductField`.
    inputs : float32 (t, columns)
    scaled : float32 (>= columns,)
        Scratch.
    codes : uint8 (t, columns rounded up)
    factors, bounds, sums : float32 (t, 2), float32 (2, 16), int32 (6, 64)
        Scratch.
    apart : float32 (t, >= first_apart + outlier columns)
        Scratch from column `first_apart` on.
    first_apart : int
    outputs : float32 (t, >= rows)
        Output.
    """
    product = product_at(address)
    weights, steps, bias, row_sums = product.weights, product.steps, product.bias, product.sums
    scales = product.scales
    apart_columns, apart_weights = product.apart_columns, product.apart_weights
    tokens = inputs.shape[0]
    for token in range(tokens):
        for i in range(apart_columns.shape[0]):
            apart[token, first_apart + i] = inputs[token, apart_columns[i]]
        factors[token, 0], factors[token, 1] = quantize(inputs[token], scales, scaled, codes[token], bounds)
    for block in range(weights.shape[0]):
        start = block * BLOCK
        for first in range(0, tokens, TOKENS):
            count = min(TOKENS, tokens - first)
            multiply(weights, block, codes, first, count, sums)
            settle(sums, row_sums, steps, bias, start, factors, first, count, outputs)
    for token in range(tokens):
        for i in range(apart_columns.shape[0]):
            value = apart[token, first_apart + i]
            for row in range(steps.shape[0]):
                outputs[token, row] += value * apart_weights[i, row]


@inlined
def _look_up(ids, codes, steps, positions, rows):
    """Set the rows to the embeddings of tokens and positions, if there are ids."""
    for token in range(ids.shape[0]):
        row = ids[token]
        step = steps[row]
        for column in range(rows.shape[1]):
            rows[token, column] = np.float32(codes[row, column]) * step + positions[token, column]


@inlined
def _pool(rows, mean, vector):
    """Compute the vector of a text from its tokens: their mean, or the first."""
    count = rows.shape[0] if mean else 1
    for column in range(vector.shape[0]):
        vector[column] = rows[0, column]
    for token in range(1, count):
        for column in range(vector.shape[0]):
            vector[column] += rows[token, column]
    share = np.float32(1.0 / count)
    for column in range(vector.shape[0]):
        vector[column] *= share


@kernel
def run_layers(address):
    """Run the tokens of a text through all layers.

    Parameters
    ----------
    address : int
        Address of a block of `LayersField`.
    """
    text = layers_at(address)
    layers, heads, norms, epsilon, products = text.layers, text.heads, text.norms, text.epsilon[0], text.products
    rows, attended, wide, inner = text.rows, text.attended, text.wide, text.inner
    codes, inner_codes, keys, scores = text.codes, text.inner_codes, text.keys, text.scores
    received, factors, bounds, sums, scaled = text.received, text.factors, text.bounds, text.sums, text.scaled
    tokens, width = rows.shape
    _look_up(text.ids, text.table_codes, text.table_steps, text.positions, rows)
    for token in range(tokens):
        layer_norm(rows[token], norms[0], epsilon)
    for layer in range(layers):
        at = products + layer * PRODUCTS * PRODUCT_BYTES
        apply(at, rows, scaled, codes, factors, bounds, sums, inner, 0, wide)
        attend(wide, heads, tokens, keys, scores, layer == layers - 1, received, attended)
        apply(at + PRODUCT_BYTES, attended, scaled, codes, factors, bounds, sums, inner, 0, wide)
        for token in range(tokens):
            for column in range(width):
                rows[token, column] += wide[token, column]
            layer_norm(rows[token], norms[1 + NORMS * layer], epsilon)
        apply(at + 2 * PRODUCT_BYTES, rows, scaled, codes, factors, bounds, sums, wide, 0, inner)
        for token in range(tokens):
            for column in range(inner.shape[1]):
                inner[token, column] = gelu(inner[token, column])
        apply(at + 3 * PRODUCT_BYTES, inner, scaled, inner_codes, factors, bounds, sums, wide, width, wide)
        for token in range(tokens):
            for column in range(width):
                rows[token, column] += wide[token, column]
            layer_norm(rows[token], norms[2 + NORMS * layer], epsilon)
    _pool(rows, text.mean, text.vector)
