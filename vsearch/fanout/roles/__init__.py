"""The logic of the functions of a stack: coordinator, allocator and processor."""
