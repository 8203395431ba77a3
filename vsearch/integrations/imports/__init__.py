"""Indexes built from the data of other libraries."""
