"""The loop, checkpoints, runs."""
