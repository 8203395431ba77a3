"""The state of an open index: model, shards, snapshot, and a workspace for each thread."""
