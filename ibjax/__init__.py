"""ibjax: the information plane of ensembles of neural networks, in JAX."""
