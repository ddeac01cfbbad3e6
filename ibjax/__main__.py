"""`python -m ibjax` is `ibjax`."""

import sys

from ibjax.cli import main

sys.exit(main())
