"""Messages between functions, and their bytes."""
