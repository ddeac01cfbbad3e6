"""A recorder in the terms of a framework: forward hooks of PyTorch, a callback of Keras.

Each module needs its framework, which this package does not install, and imports it when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
