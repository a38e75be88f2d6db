"""What torchrun starts in test_distributed.py, once for each process: ``team_run.py FOLDER``.

First trainings without dropout, then a usual one, then that one again with a checkpoint; the last process is killed
after two epochs of it, and what torchrun starts anew goes on with it. Every process writes what it ended with.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.neural import checkpoint
from training.neural.distributed import ALONE, Team, joined
from training.neural.schedule import Epoch, Schedule
from training.signflow.fit import Recipe, fit
from training.signflow.synthetic.signing import Synthesis, generate

USUAL = Recipe(batch_size=7, schedule=Schedule(epochs=3, swa=0.5))  # 7: odd, and the last batch has a single clip
ROUNDED = replace(USUAL, dropout=0.0)  # in bfloat16, where the processor has it
EXACT = replace(ROUNDED, schedule=replace(USUAL.schedule, bfloat16=False))


def train(recipe: Recipe, result: Path, team: Team = ALONE, **more: Any) -> None:
    clips = generate(Synthesis(signs=3, signers=5, takes=3))
    learn, choose = clips.select(range(36)), clips.select(range(36, 45))
    _, fitted = fit(learn, choose, recipe, team=team, **more)
    history = [{"loss": epoch.loss, "score": epoch.score} for epoch in fitted.history]
    checkpoint.write(result, fitted.weights, {"history": history, "kind": fitted.kind})


def main(folder: Path) -> None:
    with joined("cpu") as team:

        def die(epoch: Epoch) -> None:
            if team.rank == 1 and not team.restarts and epoch.number == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        if not team.restarts:
            train(EXACT, folder / f"exact-{team.rank}", team)
            train(ROUNDED, folder / f"rounded-{team.rank}", team)
            train(USUAL, folder / f"whole-{team.rank}", team)
        train(USUAL, folder / f"killed-{team.rank}", team, checkpoint=folder / "run.safetensors", on_epoch=die)
        (folder / f"restarts-{team.rank}").write_text(str(team.restarts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
