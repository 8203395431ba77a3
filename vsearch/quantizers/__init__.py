"""Quantizers: frozen, named, serialisable codecs behind one protocol."""
