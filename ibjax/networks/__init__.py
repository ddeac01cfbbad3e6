"""Networks: what a network must be, the built-in perceptron, and the adapter for modules of flax."""
