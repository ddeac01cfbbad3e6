"""Many networks at once: compiling, devices, checkpoints, and the run itself."""
