import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from archives.archive import Archive, open_archive
from scripts import evaluate_models
from tests.archives.rewrite import recertified
from tests.handlers.every import MODELS, family
from training.budget.synthetic import accounts
from training.catalog.synthetic import listings
from training.code_health.synthetic import rows as code_rows
from training.evaluation.labelled import LabelledError, evaluate, intervals
from training.market.synthetic import Synthesis, generate
from training.packaging.archive import build


@cache
def archive_of(model: str, store: Path) -> Archive:
    return open_archive(build(family(model).releases()[model], store).path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def clips(folder: Path) -> Path:
    from tests.families.signflow import frames_of

    lengths = [20 + k for k in range(12)]
    arrays: dict[str, Any] = {
        "X": np.concatenate([frames_of(length, seed=length) for length in lengths]),
        "len": np.array(lengths),
        "y": np.array([f"sign_{k % 3:02d}" if k % 7 else "unheard of" for k in range(12)]),
        "source": np.array([f"signer {k % 6}" for k in range(12)]),
    }
    np.savez(folder / "clips.npz", **arrays)
    return folder / "clips.npz"


def products(folder: Path) -> Path:
    frame = listings.generate(listings.Synthesis(products=400, seed=9)).rename(columns={"code": "prdtypecode"})
    frame[["designation", "description", "prdtypecode"]].to_csv(folder / "products.csv", index=False)
    return folder / "products.csv"


def transactions(folder: Path) -> Path:
    frame = accounts.generate(accounts.Synthesis(users=6, months=16, seed=9))
    frame[["user", "date", "label", "amount", "category"]].to_csv(folder / "bank.csv", index=False)
    return folder / "bank.csv"


def candles(folder: Path) -> Path:
    history = generate(Synthesis(hours=1400, assets=5, seed=9))
    opened = history.times - np.timedelta64(1, "h")
    parts = [
        pd.DataFrame({"asset": name, "date": opened, **dict.fromkeys(("open", "high", "low", "close"), closes)})
        for name, closes in zip(history.assets, history.prices.T, strict=True)
    ]
    pd.concat(parts).dropna().to_csv(folder / "candles.csv", index=False)
    return folder / "candles.csv"


def features(folder: Path) -> Path:
    from models.code_health.features import NAMES

    rows = code_rows.generate(code_rows.Synthesis(projects=6, years=2.0, seed=9))
    frame = pd.DataFrame(rows.features, columns=list(NAMES)).assign(
        project=rows.projects, kind=rows.kinds, moment=rows.moments.astype("datetime64[s]").astype(str), **rows.targets
    )
    frame.assign(moment=frame["moment"] + "Z").to_csv(folder / "features.csv", index=False)
    return folder / "features.csv"


FILES: Mapping[str, Callable[[Path], Path]] = {
    "signflow": clips,
    "catalog": products,
    "budget_categorizer": transactions,
    "budget_forecast": transactions,
    "market_alerts": candles,
    "code_risk": features,
    "code_anomaly": features,
    "code_impact": features,
}
SHOWN: Mapping[str, tuple[str, ...]] = {
    "signflow": ("accuracy", "macro_f1", "calibration_error"),
    "catalog": ("accuracy", "weighted_f1", "calibration_error"),
    "budget_categorizer": ("accuracy", "coverage", "calibration_error"),
    "budget_forecast": ("wape", "coverage", "total.wape"),
    "market_alerts": ("auc", "skill", "calibration_error"),
    "code_risk": ("auc", "calibration_error"),
    "code_anomaly": ("auc", "precision"),
    "code_impact": ("rmse", "rank_correlation"),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", FILES)
def test_a_person_gets_figures_with_intervals(
    model: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = archive_of(model, store)
    assert evaluate_models.main(["--models", str(archive.path), "--data", str(FILES[model](tmp_path))]) == 0
    told = capsys.readouterr().out
    found = {line.split()[0]: line.split()[1:] for line in told.splitlines() if line.startswith("  ")}
    for name in SHOWN[model]:
        value, low, high = (float(one) for one in found[name] if one != "to")
        assert np.isfinite(value) and low <= high and low < value + 0.2 and high > value - 0.2
    assert f"{model} 1.0 on" in told and "95 % intervals" in told


@pytest.mark.slow
def test_every_family_of_recorded_data_is_evaluated() -> None:
    from training.family import families

    assert {MODELS[model] for model in FILES} == set(families("labelled"))


def test_clips_get_what_the_model_says_of_them(signflow_archive: Path, tmp_path: Path) -> None:
    """The archive's answers are those of the network that it was made of, on excerpts, as users get them."""
    from rich.console import Console

    from models.signflow.excerpt import excerpt
    from tests.families.signflow import made_up
    from training.data.reading.style import Style
    from training.evaluation.classification import evaluate as classified
    from training.signflow import recorded
    from training.signflow.fit import probabilities
    from training.signflow.labelled import labelled

    trained, archive, path = made_up(), open_archive(signflow_archive), clips(tmp_path)
    asked, _ = labelled(path, archive.contract, Style(), Console(quiet=True))
    assert len(asked.requests) == 10, "of signs that it knows"
    found = evaluate(archive, asked)
    read, _ = recorded.read(path)
    read = read.select(np.flatnonzero(np.isin(np.array(read.signs)[read.labels], trained.labels)))
    truth = np.array([trained.labels.index(read.signs[k]) for k in read.labels])
    expected = classified(
        probabilities(trained.model, tuple(excerpt(one) for one in read.sequences)), truth, trained.labels
    )
    assert {name: one[0] for name, one in found.figures.items()} == pytest.approx(expected.metrics, abs=1e-4)
    assert (found.rows, found.refused, found.groups) == (10, 0, 6)


def test_what_a_worker_would_refuse_is_counted_and_not_judged(signflow_archive: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from rich.console import Console

    from training.data.reading.style import Style
    from training.signflow.labelled import labelled

    archive = open_archive(signflow_archive)
    asked, _ = labelled(clips(tmp_path), archive.contract, Style(), Console(quiet=True))
    spoilt = [np.zeros_like(asked.requests[0]), *asked.requests[1:]]
    found = evaluate(archive, replace(asked, requests=spoilt))
    assert found.refused == 1 and "frames" in found.first
    with pytest.raises(LabelledError, match="all 10 rows were refused"):
        evaluate(archive, replace(asked, requests=[np.zeros((3, 225), np.float32)] * 10))


def test_data_that_it_was_trained_on_is_refused(
    signflow_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.data.manifest import of_files

    path = clips(tmp_path)
    origin = open_archive(signflow_archive).json("provenance.json")
    origin["data_manifest_sha256"] = of_files([path], path).sha256
    mine = recertified(
        signflow_archive, tmp_path / "signflow-1.0.mar", {"provenance.json": json.dumps(origin).encode()}
    )
    assert evaluate_models.main(["--models", str(mine), "--data", str(path)]) == 1
    assert "name rows that its training did not see" in capsys.readouterr().err


def test_rows_of_labels_that_it_does_not_know_tell_nothing(
    signflow_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = clips(tmp_path)
    with np.load(path) as arrays:
        np.savez(path, **{**arrays, "y": np.array(["elsewhere", "abroad"] * 6)})
    assert evaluate_models.main(["--models", str(signflow_archive), "--data", str(path)]) == 1
    assert "expected rows of a sign that signflow knows" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("model", ["catalog", "budget_categorizer", "budget_anomaly", "code_risk", "code_bugs"])
def test_training_says_how_calibrated_a_model_is_and_whom_it_fails(model: str) -> None:
    origin = family(model).releases()[model].provenance
    assert 0 <= origin["metrics"]["calibration_error"] <= 1
    assert origin["slices"]["compared"] > 0 and 0 < origin["slices"]["right"] <= 1
    assert not {"user", "signer"} & {one["by"] for one in origin["slices"]["worse"]}


@pytest.mark.slow
def test_anomalies_are_not_labelled(tmp_path: Path) -> None:
    from rich.console import Console

    from training.budget.labelled import labelled
    from training.data.reading.style import Style

    contract = family("budget_anomaly").releases()["budget_anomaly"].contract
    with pytest.raises(LabelledError, match="do not say which of them are anomalies"):
        labelled(tmp_path, contract, Style(), Console(quiet=True))


def test_rows_of_a_group_are_drawn_together() -> None:
    """Ten people who are wholly right or wrong: the interval is that of ten answers, not of a thousand."""
    groups = np.repeat(np.arange(10), 100)
    columns = {"right": np.repeat(np.arange(10) < 5, 100)}
    value, low, high = intervals(lambda some: {"share": float(some["right"].mean())}, columns, groups)["share"]
    assert value == 0.5 and low <= 0.25 and high >= 0.75
    alone = intervals(lambda some: {"share": float(some["right"].mean())}, columns, np.arange(1000))["share"]
    assert 0.46 < alone[1] < 0.5 < alone[2] < 0.54


def test_few_groups_have_no_interval() -> None:
    found = intervals(lambda some: {"mean": float(some["x"].mean())}, {"x": np.arange(8)}, np.repeat([0, 1, 2, 3], 2))
    assert found["mean"][0] == 3.5 and np.isnan(found["mean"][1:]).all()


def test_what_cannot_be_computed_of_a_draw_is_left_out() -> None:
    def auc_like(some: Mapping[str, Any]) -> dict[str, float]:
        return {"x": float(some["x"].mean()) if some["x"].any() else float("nan")}

    columns = {"x": (np.arange(6) == 0).astype(float)}
    assert intervals(auc_like, columns, np.arange(6))["x"][1] > 0
