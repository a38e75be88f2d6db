"""What the log says of an instance has the names and the meaning of the archive's `reference.npz`."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archives.archive import open_archive
from archives.reference import read_reference
from handlers.spool import Sampling, Spool
from tests.handlers.every import MODELS, as_json, ask, family, loaded
from tests.handlers.reference_requests import REBUILT, reference_requests

TABULAR = "code_risk"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Have a model log to a folder, which is returned."""

    def to_folder(model: str, **sampling: float) -> Path:
        handler, _ = loaded(model)
        spool = Spool(tmp_path, model, handler.contract.version, Sampling(**sampling), 1 << 28)  # type: ignore[arg-type]
        monkeypatch.setattr(handler, "_spool", spool)
        monkeypatch.setattr(handler._batch, "_summarised", True)
        return tmp_path

    return to_folder


def logged(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the lines by the ids of their requests."""
    said = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_bytes().splitlines()]
    return {line["answer"]["request_id"]: line for line in said}


@pytest.mark.parametrize("model", sorted(REBUILT))
def test_what_is_logged_of_the_reference_rows_is_the_reference(model: str, log: Callable[..., Path]) -> None:
    folder = log(model)
    handler, store = loaded(model)
    reference = read_reference(open_archive(store / f"{model}-1.0.mar"))
    sent = {str(row): as_json(body, **{"X-Request-Id": str(row)}) for row, body in reference_requests(model).items()}
    statuses = [status for status, _ in ask(model, *sent.values())]
    lines = logged(folder)
    assert len(lines) == statuses.count(200) >= min(7, len(reference))
    assert set(statuses) <= {200, 422}  # training measures some rows that serving would refuse
    assert tuple(reference.summary) == handler.contract.summary != ()
    for row, line in lines.items():
        expected = [float(column[int(row)]) for column in reference.summary.values()]
        found = [np.nan if value is None else value for value in line["summary"][0]]
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6, err_msg=f"row {row}")


@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_request_of_many_is_summarised_instance_by_instance(model: str, log: Callable[..., Path]) -> None:
    folder = log(model)
    many = family(model).good(model)
    alone = [as_json(body, **{"X-Request-Id": str(number)}) for number, body in enumerate(many)]
    [(status, body)] = ask(model, as_json({"instances": many}, **{"X-Request-Id": "many"}))
    assert status == 200, body
    for one in alone:
        ask(model, one)
    lines = logged(folder)
    handler, _ = loaded(model)
    if not handler.contract.summary:
        assert not any("summary" in line for line in lines.values())
        return
    assert np.shape(lines["many"]["summary"]) == (len(many), len(handler.contract.summary))
    assert lines["many"]["summary"] == [lines[str(number)]["summary"][0] for number in range(len(many))]


def test_of_an_answer_in_part_rows_stay_in_their_places(log: Callable[..., Path]) -> None:
    folder = log(TABULAR)
    good = family(TABULAR).good(TABULAR)[:2]
    body = {"instances": [good[0], {"features": {}}, good[1]], "partial": True}
    ask(TABULAR, as_json(body, **{"X-Request-Id": "part"}), as_json({"instances": good}, **{"X-Request-Id": "whole"}))
    lines = logged(folder)
    first, none, last = lines["part"]["summary"]
    assert [first, last] == lines["whole"]["summary"]
    assert set(none) == {None}


def test_a_summary_that_fails_costs_nothing_but_itself(
    log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = log(TABULAR)
    handler, _ = loaded(TABULAR)
    good = family(TABULAR).good(TABULAR)[0]
    wrong = np.zeros((1, len(handler.contract.summary) + 1), np.float32)
    for number, summarise in enumerate((lambda items, outputs: 1 / 0, lambda items, outputs: wrong)):
        monkeypatch.setattr(handler, "summarise", summarise)
        with caplog.at_level(logging.ERROR):
            [(status, _)] = ask(TABULAR, as_json(good, **{"X-Request-Id": str(number)}))
        assert status == 200
        assert caplog.messages[-1].startswith("items could not be summarised")
    lines = logged(folder)
    assert [("summary" in lines[name], "predictions" in lines[name]["answer"]) for name in "01"] == [(False, True)] * 2


def test_a_request_with_fields_of_one_client_keeps_no_input_and_a_summary(log: Callable[..., Path]) -> None:
    folder = log("signflow", input_share=1.0)
    handler, _ = loaded("signflow")
    frames = family("signflow").good("signflow")[0]
    own = {"prototypes": {}, "calibration_of": handler._fingerprint}  # type: ignore[attr-defined]
    ask("signflow", as_json({**frames, **own}, **{"X-Request-Id": "own"}), as_json(frames, **{"X-Request-Id": "any"}))
    lines = logged(folder)
    assert lines["own"]["summary"] == lines["any"]["summary"]
    assert ("input" in lines["own"], "input" in lines["any"]) == (False, True)


def test_nothing_is_summarised_that_is_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    handler, _ = loaded(TABULAR)
    monkeypatch.setattr(handler, "summarise", lambda items, outputs: pytest.fail("summarised"))
    [(status, _)] = ask(TABULAR, as_json(family(TABULAR).good(TABULAR)[0]))
    assert status == 200
