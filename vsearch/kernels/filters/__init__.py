"""Kernels of filters: bitmaps and LIKE."""
