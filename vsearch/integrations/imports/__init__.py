"""Indexes from what other libraries store."""
