"""`python -m mxjax VERB`, the same as the `mxjax` command."""

import sys

from mxjax.cli import main

sys.exit(main())
