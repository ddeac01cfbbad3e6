"""ibjax: the information plane of ensembles of neural networks, in JAX.

The public names stand in `__init__.pyi`. Each is imported when first used, so that reading a file or drawing a figure
does not wait for the compiler.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
