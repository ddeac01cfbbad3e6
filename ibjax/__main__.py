"""`python -m ibjax` is `ibjax`."""

from ibjax.cli.main import entry_point

entry_point()
