"""Write the clips whose labels would teach a model most, for people to label.

    python scripts/annotation_queue.py --model signflow:1.0 --data recordings/ --count 100 --out queue.csv
    python scripts/train.py signflow --data recordings/ --labels queue.csv      # once its column `label` is filled in

The model is MODEL:VERSION of the store or the registry, or the path of an archive. Asked for are clips without a label
of which the model is least certain; rows that are left empty are skipped when the file comes back.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from archives.contract import ArchiveError
from archives.registry import RegistryError
from rollout import candidates
from rollout.declaration import DeclarationError
from rollout.rollouts import RolloutError
from settings import Settings
from training import signflow_queue
from training.data import quality, signflow_labels
from training.signflow_active import STRATEGIES


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="MODEL:VERSION, or an archive")
    parser.add_argument("--data", required=True, type=Path, metavar="PATH", help="an .npz file, or a folder of them")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the queue, .csv or .json")
    parser.add_argument("--count", type=int, default=100, help="at most so many clips (default: %(default)s)")
    parser.add_argument("--by", choices=STRATEGIES, default="margin", help="what to ask by (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random strategy (default: %(default)s)")
    parser.add_argument("--labels", type=Path, nargs="+", default=[], help="queues that came back: not asked again")
    parser.add_argument("--labelled", action="store_true", help="ask for clips that have a label too, to check it")
    options = parser.parse_args(argv)
    console = Console(soft_wrap=True, highlight=False)
    if options.out.exists():
        console.print(f"{options.out} is there already, perhaps with labels in it: name another file", style="red")
        return 1
    try:
        archive = candidates.find(Settings(), *candidates.asked(options.model)).archive
        answered = signflow_labels.read(options.labels)
        clips, faults = signflow_queue.candidates(options.data, answered, labelled=options.labelled)
        if faults:
            console.print(quality.report(faults))
        if not clips:
            console.print(f"no clip of {options.data} is left to label; --labelled asks for labelled ones too")
            return 1
        rows = signflow_queue.queue(archive, clips, options.by, options.count, options.seed)
    except (ArchiveError, DeclarationError, OSError, RegistryError, RolloutError, quality.BadDataError) as error:
        console.print(str(error), style="red")
        return 1
    signflow_queue.write(rows, options.out)
    console.print(f"{options.out}: {len(rows)} of {len(clips)} clips, by {options.by}; fill in the column label")
    return 0


if __name__ == "__main__":
    sys.exit(main())
