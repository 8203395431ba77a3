"""A text encoder's layers in small integers."""
