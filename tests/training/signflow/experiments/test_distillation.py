import argparse
from pathlib import Path

from training.signflow.experiments import distillation
from training.signflow.experiments.harness import Data
from training.signflow.synthetic.signing import Synthesis, generate


def test_one_teacher_and_two_students_are_compared_each_kept_under_its_own_name(tmp_path: Path) -> None:
    data = Data("synthetic", generate(Synthesis(signs=4, signers=8, takes=2)))
    arguments = argparse.Namespace(
        shown=50, teacher_shown=100, teacher_size="small", temperature=4.0, alpha=0.5, out=tmp_path
    )
    outcomes = {arm.name: arm.run(0) for arm in distillation.arms(arguments, data)}
    assert list(outcomes) == ["student alone", "student distilled", "teacher"]
    kept = {path.name.rsplit("-", 1)[0] for path in (tmp_path / "weights").iterdir()}
    assert kept == {"synthetic-small-usual", "synthetic-small-distilled-small-100-4-0.5"}
    assert len(list((tmp_path / "weights").iterdir())) == 3
    assert outcomes["student alone"] != outcomes["student distilled"]
