"""The public API: building, opening and searching an index, in this process or through functions."""
