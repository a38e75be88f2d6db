"""Look at rollouts and steer them by hand: `rollout/command.py` describes it, and so does ``--help``.

python scripts/rollout.py status
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Where any script here looks for the package of this name it finds this file first, since its own folder comes first on
# the path, whatever is installed. So this file stands for the package to them, as long as the command has its name.
__path__ = [str(ROOT / "rollout")]

if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    from rollout.command import main

    sys.exit(main())
