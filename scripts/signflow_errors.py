"""Say where SignFlow errs on people it has not seen, with the networks of the experiment `architectures`.

    python scripts/experiment.py architectures --data recordings/common_signs.npz --seeds 0 1 2 3
    python scripts/signflow_errors.py --data recordings/common_signs.npz --sizes large --field lang

Every clip is judged by the network that has not seen its signer. With several sizes their probabilities are averaged.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from settings import Settings
from training import experiment
from training.experiments import architectures
from training.signflow_errors import Judged, by, concentration, confusions, hands_seen
from training.signflow_fit import probabilities


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="PATH", help="an .npz file of recorded sequences")
    parser.add_argument("--field", help="also by this array of the file, such as lang")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3], help="folds (default: 0 1 2 3)")
    parser.add_argument("--out", type=Path, default=Settings().state_dir / "experiments", help="of the experiment")
    architectures.add_arguments(parser)
    parser.set_defaults(sizes=["large"])
    options = parser.parse_args(argv)
    data = experiment.load(options.data)
    answers = np.zeros((len(data.clips), len(data.clips.signs)), np.float32)
    tested = np.zeros(len(data.clips), bool)
    for seed in options.seeds:
        train, test = data.unseen(seed)
        aside = np.isin(data.clips.signers, test.signers)
        for size in options.sizes:
            how = experiment.recipe(data, train, seed, options.shown, size)
            network = experiment.trained(data, seed, how, options.out / "weights")
            answers[aside] += probabilities(network, test.sequences) / len(options.sizes)
        tested |= aside
    judged = Judged(data.clips.select(np.flatnonzero(tested)), answers[tested])
    clips = judged.clips
    print(f"{' and '.join(options.sizes)} on {data.name}: {len(clips)} clips, accuracy {judged.right.mean():.3f}\n")
    print("\n".join(f"{share:.2f} of {what}" for what, share in concentration(judged).items()), "\n")
    fields = {"sign": np.array(clips.signs)[clips.labels], "hand seen in": hands_seen(clips.sequences)}
    if options.field:
        with np.load(options.data, allow_pickle=False) as file:
            values = file[options.field].astype(str)
        if len(values) != len(data.clips):
            print(f"{options.field} has {len(values)} values, but {len(data.clips)} clips are sound", file=sys.stderr)
            return 1
        fields[options.field] = values[tested]
    fields |= {
        "frames": np.array([f"{frames // 10 * 10} to {frames // 10 * 10 + 9}" for frames in clips.lengths.tolist()])
    }
    print("\n\n".join(by(judged, name, values) for name, values in fields.items()))
    print(f"\n{confusions(judged)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
