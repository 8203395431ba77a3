"""Fan-out: the tree of allocators, one processor per shard, the messages between them and what they cost."""
