"""Kernels over codes: blocks, lookup tables, cells, rerank codes, the best k."""
