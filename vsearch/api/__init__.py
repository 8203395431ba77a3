"""The public face: building, opening and searching an index, in this process or behind functions."""
