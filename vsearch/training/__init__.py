"""Common parts of trainings: checkpoints, the schedule of learning rates, and torch, if it is installed."""
