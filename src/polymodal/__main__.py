"""``python -m polymodal``, as torchrun needs it."""

import sys

from polymodal.cli.main import main

sys.exit(main())
