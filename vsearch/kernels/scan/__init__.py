"""Kernels over codes: blocks, lookup tables, cells, rerank codes, top k."""
