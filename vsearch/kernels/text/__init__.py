"""Kernels of the text leg: packing and unpacking of postings, BM25."""
