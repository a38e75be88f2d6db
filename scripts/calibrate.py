"""Teach SignFlow how you sign: have your own takes embedded, and see what they gain.

    python scripts/calibrate.py --takes my_takes.npz --out calibration.json
    python scripts/calibrate.py --takes my_takes/ --url https://signs.example.org --out calibration.json
    python scripts/calibrate.py --calibration calibration.json --try more_takes.npz

Takes are an .npz file as training reads it, or a folder of float arrays [frames, 225]: SIGN.npy, SIGN-2.npy, or
SIGN/NAME.npy. One take of a sign helps, eight are used at most. Two fields of calibration.json, calibration_of and
prototypes, are sent along with each request, beside "frames". They are of one version, and another version refuses them
with 409: calibrate again then. They say how you sign: keep them to yourself. The server's token is the first of
MARINA_INFERENCE_TOKENS. More: docs/families/signflow.md.
"""

import argparse
import sys
from pathlib import Path

from archives.errors import MarinaError
from marina.processes.console import show
from marina.settings import read_settings
from training.signflow.own_takes import Calibration, Server, read_takes


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--takes", type=Path, metavar="PATH", help="your takes, to calibrate by")
    source.add_argument("--calibration", type=Path, metavar="FILE", help="a calibration that is there already")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the server (default: %(default)s)")
    parser.add_argument("--model", default="signflow", help="its name there (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("calibration.json"), help="default: %(default)s")
    parser.add_argument("--try", type=Path, metavar="PATH", dest="asked", help="other takes of yours, to be asked")
    options = parser.parse_args(argv)
    try:
        token = next((token.get_secret_value() for token in read_settings().inference_tokens), None)
        if options.calibration:
            calibration = Calibration.read(options.calibration)
        else:
            calibration = Server(options.url, options.model, token).calibrate(read_takes(options.takes))
            calibration.write(options.out)
            takes = sum(map(len, calibration.prototypes.values()))
            of = f"{takes} takes of {len(calibration.prototypes)} signs, {calibration.model} {calibration.version}"
            show(f"{options.out}: {of}")
        if options.asked:
            asked = read_takes(options.asked)
            server = Server(options.url, options.model, token, calibration.version)
            before, after = (server.count_right(asked, one) / len(asked) for one in (None, calibration))
            show(f"{len(asked)} takes asked: {before:.2f} right without your own, {after:.2f} with them")
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
