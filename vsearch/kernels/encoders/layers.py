"""All layers of a text encoder, for the tokens of one text.

Each text is processed alone and by one thread, so its vector is bitwise identical in any batch.
"""

from __future__ import annotations

from vsearch.kernels.encoders.attention import attend
from vsearch.kernels.encoders.fields import ATTENDING, BLOCK, LANES, NORMS, PRODUCTS, TOKENS, LayersField, ProductField
from vsearch.kernels.encoders.functions import gelu, layer_norm
from vsearch.kernels.encoders.products import multiply
from vsearch.kernels.encoders.rounding import quantize, settle
from vsearch.kernels.toolchain.compiling import kernel, part
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
    },
)


@part
def apply(address, inputs, codes, factors, bounds, sums, apart, first_apart, outputs):
    """Multiply the token rows of a text by a weight matrix.

    Inputs of outlier columns (`apart`), whose scales are 0, are multiplied by float weights.

    Parameters
    ----------
    address : int
        Address of a block of `ProductField`.
    inputs : float32 (t, columns)
        Overwritten.
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
        factors[token, 0], factors[token, 1] = quantize(inputs[token], scales, codes[token], bounds)
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
    received, factors, bounds, sums = text.received, text.factors, text.bounds, text.sums
    tokens, width = rows.shape
    for token in range(tokens):
        layer_norm(rows[token], norms[0], epsilon)
    for layer in range(layers):
        at = products + layer * PRODUCTS * PRODUCT_BYTES
        for token in range(tokens):
            for column in range(width):
                attended[token, column] = rows[token, column]
        apply(at, attended, codes, factors, bounds, sums, inner, 0, wide)
        attend(wide, heads, tokens, keys, scores, layer == layers - 1, received, attended)
        apply(at + PRODUCT_BYTES, attended, codes, factors, bounds, sums, inner, 0, wide)
        for token in range(tokens):
            for column in range(width):
                rows[token, column] += wide[token, column]
            layer_norm(rows[token], norms[1 + NORMS * layer], epsilon)
            for column in range(width):
                attended[token, column] = rows[token, column]
        apply(at + 2 * PRODUCT_BYTES, attended, codes, factors, bounds, sums, wide, 0, inner)
        for token in range(tokens):
            for column in range(inner.shape[1]):
                inner[token, column] = gelu(inner[token, column])
        apply(at + 3 * PRODUCT_BYTES, inner, inner_codes, factors, bounds, sums, wide, width, wide)
        for token in range(tokens):
            for column in range(width):
                rows[token, column] += wide[token, column]
            layer_norm(rows[token], norms[2 + NORMS * layer], epsilon)
