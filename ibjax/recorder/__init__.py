"""The information plane of a training loop of one's own: activations in, a trajectory out."""
