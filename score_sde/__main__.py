"""``python -m score_sde`` is the command ``score-sde``."""

import sys
from pathlib import Path

from score_sde.cli import main

# "python -m" looks for modules in the folder where it is run before all others: see
# `look_in_current_folder`.
if not sys.flags.safe_path and sys.path[0] in ("", str(Path.cwd())):
    del sys.path[0]
sys.exit(main())
