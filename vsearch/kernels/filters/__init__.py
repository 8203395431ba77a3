"""Kernels for filters: bitmaps and LIKE."""
