"""What is open of an index: model, shards, snapshot, and a workspace for each thread."""
