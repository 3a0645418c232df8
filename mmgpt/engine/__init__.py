"""Training: configs and their check, the loop, the optimiser's step, checkpoints, hooks."""
