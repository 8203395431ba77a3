"""What the functions of a stack do: coordinator, allocator and processor."""
