"""No pickle anywhere: every way to unpickle raises, and a model is still trained, built, proven and served."""

import os
import subprocess
import sys
from pathlib import Path

from marina.settings import ROOT

TRAPS = """
import pickle, sys

def trap(*args, **kwargs):
    raise RuntimeError("something was unpickled")

class Trap(pickle.Unpickler):
    def __init__(self, *args, **kwargs):
        trap()

class PurePythonTrap(pickle._Unpickler):  # pandas derives from it at import
    def __init__(self, *args, **kwargs):
        trap()

pickle.load = pickle.loads = pickle._load = pickle._loads = trap
pickle.Unpickler, pickle._Unpickler = Trap, PurePythonTrap
"""
"""Set before anything of ours is imported; `_pickle`, joblib, shelve, numpy and torch.load all come through these."""

PATH = (
    TRAPS
    + """
import _pickle
_pickle.load = _pickle.loads = trap
_pickle.Unpickler = Trap
import torch
torch.load = torch.serialization.load = trap

from pathlib import Path
from archives.store import unpack
from handlers.signflow import SignFlowHandler
from tests.handlers.context import Context
from tests.families.signflow import frames_of
from tests.bad_requests import npy
from training.packaging.archive import build
from training.signflow.synthetic.signing import Synthesis
from training.signflow.recipe import TrainOptions, train
from training.signflow.fit import Recipe
from training.neural.loop import Schedule
from training.signflow.release import release

options = TrainOptions(home=Path("home"), recipe=Recipe(schedule=Schedule(epochs=1)), synthesis=Synthesis(4, 8, 1, 0))
archive = build(release(train(options)["signflow"], "1.0"), Path("store")).path
unpack(archive, Path("unpacked"))
handler = SignFlowHandler()
handler.initialize(Context(Path("unpacked")))
context = Context(Path("unpacked"), [{"content-type": "application/x-npy"}])
[answer] = handler.handle([{"body": npy(frames_of(20))}], context)
assert context.statuses == [200], answer
print("answered without unpickling")
"""
)

TRAPPED = (
    TRAPS
    + """
try:
    pickle.loads(pickle.dumps(1))
except RuntimeError:
    print("trapped")
"""
)


def run(code: str, folder: Path) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_trap_works(tmp_path: Path) -> None:
    assert "trapped" in run(TRAPPED, tmp_path)


def test_training_to_answer_unpickles_nothing(tmp_path: Path) -> None:
    assert "answered without unpickling" in run(PATH, tmp_path)
