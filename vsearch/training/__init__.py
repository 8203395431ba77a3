"""What trainings share: checkpoints, the schedule of learning rates, and torch, if it is installed."""
