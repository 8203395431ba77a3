"""The layers of a text encoder in quantized integer arithmetic."""
