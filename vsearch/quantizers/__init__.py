"""Quantizers: frozen, named, serializable codecs behind one protocol."""
