"""Immutable Arrow files: contents, reading and writing."""
