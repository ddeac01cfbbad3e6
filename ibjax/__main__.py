"""`python -m ibjax` is `ibjax`."""

from ibjax.cli import entry_point

entry_point()
