"""``python -m marina.rollout``: look at rollouts and control them."""

import sys

from marina.rollout.cli import main

sys.exit(main())
