"""``python -m score_sde`` is the command ``score-sde``."""

import sys

from score_sde.cli import main

sys.exit(main())
