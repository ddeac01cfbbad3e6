"""`python -m ibjax` is `ibjax`."""

import sys

from ibjax.cli.main import main

sys.exit(main())
