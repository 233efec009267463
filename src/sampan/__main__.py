"""`python -m sampan`: the same as the `sampan` command."""

import sys

from sampan.cli.main import main

sys.exit(main())
