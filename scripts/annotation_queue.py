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
from rich.text import Text

from archives.errors import MarinaError
from marina.processes.console import plain
from marina.rollout import archive_lookup
from marina.settings import read_settings
from training.data import quality
from training.signflow import annotation_queue, annotations
from training.signflow.active_learning import STRATEGIES


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="MODEL:VERSION, or an archive")
    parser.add_argument("--data", required=True, type=Path, metavar="PATH", help="an .npz file, or a folder of them")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the queue, .csv or .json")
    parser.add_argument("--count", type=int, default=100, help="at most this many clips (default: %(default)s)")
    parser.add_argument("--by", choices=STRATEGIES, default="margin", help="selection strategy (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random strategy (default: %(default)s)")
    parser.add_argument("--labels", type=Path, nargs="+", default=[], help="annotated queues, whose clips are left out")
    parser.add_argument("--labelled", action="store_true", help="also select clips that have a label, to check it")
    options = parser.parse_args(argv)
    console = Console(soft_wrap=True, highlight=False)
    if options.out.exists():
        console.print(f"{options.out} exists already, perhaps with labels in it: name another file", style="red")
        return 1
    try:
        settings = read_settings()
        archive = archive_lookup.find(settings, *archive_lookup.asked(settings, options.model)).archive
        answered = annotations.read(options.labels)
        clips, faults = annotation_queue.candidates(options.data, answered, labelled=options.labelled)
        if faults:
            console.print(quality.report(faults))
        if not clips:
            console.print(f"no clip of {options.data} is left to label; --labelled selects labelled ones too")
            return 1
        rows = annotation_queue.queue(archive, clips, options.by, options.count, options.seed)
    except (MarinaError, OSError) as error:
        console.print(Text(plain(str(error)), "red"))
        return 1
    annotation_queue.write(rows, options.out)
    console.print(f"{options.out}: {len(rows)} of {len(clips)} clips, by {options.by}; fill in the column label")
    return 0


if __name__ == "__main__":
    sys.exit(main())
