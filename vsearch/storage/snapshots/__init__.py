"""Snapshots: manifests, commits, pruning, verification."""
