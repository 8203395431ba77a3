"""Immutable Arrow files: what is in them, reading and writing them."""
