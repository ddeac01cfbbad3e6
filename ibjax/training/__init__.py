"""The training of one network: pure functions, no vmap, no input or output."""
