"""The phases of training, by name: which rule updates the weights until when."""
