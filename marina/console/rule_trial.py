"""What sets of rules say of transactions, in a process that may be killed: JSON in, JSON out.

python -m marina.console.rule_trial < ASKED
"""

import json
import sys

import numpy as np

from models.budget.labels import parsed
from models.budget.rules import read_rules


def main() -> int:
    """Read sets of rules, labels, amounts and days; write, for each set, each transaction's category or nothing."""
    asked = json.load(sys.stdin)
    labels = asked["labels"]
    known, amounts, days = parsed(labels), np.array(asked["amounts"]), np.array(asked["days"], "datetime64[D]")
    said = []
    for rules in map(read_rules, asked["sets"]):
        ranks = rules.fire(known, amounts, days).best(len(labels))
        said.append([rules.rules[rank].category if rank >= 0 else "" for rank in ranks.tolist()])
    json.dump(said, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
