import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archives.store import unpack
from handlers.decoding import JSON, NPY
from handlers.signflow import SignFlowHandler
from models.probabilities import softmax
from models.signflow.excerpt import excerpt
from models.signflow.landmarks import AXES, LANDMARKS, LEFT_HAND, WIDTH
from models.signflow.sequences import MAX_FRAMES, pad
from models.signflow.views import views
from tests.bad_requests import npy
from tests.families.signflow import bad_requests, frames_of, implausible, sound, unusual
from tests.handlers.context import Context

Answer = tuple[int, dict[str, Any]]


class Loaded(SignFlowHandler):
    folder: Path


@pytest.fixture(scope="module")
def handler(signflow_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("unpacked")
    unpack(signflow_archive, folder)
    loaded = Loaded()
    loaded.initialize(Context(folder))
    loaded.folder = folder
    return loaded


def ask(handler: Loaded, *requests: tuple[bytes, dict[str, str]]) -> list[Answer]:
    context = Context(handler.folder, [headers for _, headers in requests])
    bodies = handler.handle([{"body": bytearray(body)} for body, _ in requests], context)
    assert context.content_types == [JSON] * len(requests)
    return [(status, json.loads(body)) for status, body in zip(context.statuses, bodies, strict=True)]


def as_json(value: Any, **headers: str) -> tuple[bytes, dict[str, str]]:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), {"Content-Type": JSON, **headers}


def as_npy(array: np.ndarray, **headers: str) -> tuple[bytes, dict[str, str]]:
    return npy(array), {"Content-Type": NPY, **headers}


def test_an_answer_names_model_version_request_and_sorted_labels(handler: Loaded) -> None:
    [(status, answer)] = ask(
        handler, as_json({"frames": frames_of(20), "top_k": 3, "session": "s-1"}, **{"X-Request-Id": "r-1"})
    )
    assert status == 200
    assert (answer["model"], answer["version"], answer["request_id"], answer["session"]) == (
        "signflow",
        "1.0",
        "r-1",
        "s-1",
    )
    probabilities = [one["probability"] for one in answer["predictions"]]
    assert len(probabilities) == 3 and probabilities == sorted(probabilities, reverse=True)
    assert {one["label"] for one in answer["predictions"]} <= set(handler.contract.labels)
    assert answer["serving_ms"] > 0


def test_all_ways_to_send_a_sequence_give_the_same_answer(handler: Loaded) -> None:
    frames = frames_of(30)
    cube = frames.reshape(-1, LANDMARKS, 3)
    answers = ask(
        handler,
        as_json({"frames": frames}),
        as_json({"frames": cube}),
        as_npy(frames),
        as_npy(cube),
        as_npy(np.asfortranarray(frames.astype(np.float64))),
        as_json({"frames": frames}, **{"Content-Type": "Application/JSON; charset=utf-8"}),
    )
    first = answers[0][1]["predictions"]
    for status, answer in answers:
        assert status == 200
        assert [one["label"] for one in answer["predictions"]] == [one["label"] for one in first]
        assert np.allclose(
            [p["probability"] for p in answer["predictions"]], [p["probability"] for p in first], atol=1e-6
        )


def test_instances_are_answered_in_order(handler: Loaded) -> None:
    sequences = [frames_of(length, seed=length) for length in (5, 60, 1, 33)]
    [(_, many)] = ask(handler, as_json({"instances": [{"frames": one} for one in sequences], "top_k": 1}))
    alone = [ask(handler, as_json({"frames": one, "top_k": 1}))[0][1]["predictions"] for one in sequences]
    for together, single in zip(many["predictions"], alone, strict=True):
        assert together[0]["label"] == single[0]["label"]
        assert together[0]["probability"] == pytest.approx(single[0]["probability"], abs=1e-6)


def test_null_is_a_missing_landmark(handler: Loaded) -> None:
    frames = frames_of(10)
    frames[3, 100] = np.nan
    listed: list[list[float | None]] = frames.tolist()
    listed[3][100] = None
    (_, sent_null), (_, sent_nan) = ask(handler, as_json({"frames": listed}), as_npy(frames))
    assert probabilities_of(sent_null) == pytest.approx(probabilities_of(sent_nan), abs=1e-6)


def test_top_k_travels_in_a_header_with_arrays(handler: Loaded) -> None:
    [(status, answer)] = ask(handler, as_npy(frames_of(5), **{"x-top-k": "7"}))
    assert status == 200 and len(answer["predictions"]) == 7


def probabilities_of(answer: dict[str, Any]) -> dict[str, float]:
    return {one["label"]: one["probability"] for one in answer["predictions"]}


def test_test_time_augmentation_is_the_mean_of_five_views(handler: Loaded) -> None:
    frames = frames_of(41)
    [(status, answer)] = ask(handler, as_json({"frames": frames, "tta": True, "top_k": 32}))
    assert status == 200
    landmarks, lengths = pad(views(excerpt(frames)))
    alone = softmax(handler.engine.run({"landmarks": landmarks, "lengths": lengths})["logits"])
    mean, itself = (dict(zip(handler.contract.labels, row.tolist(), strict=True)) for row in (alone.mean(0), alone[0]))
    assert probabilities_of(answer) == pytest.approx(mean, abs=1e-6)
    assert probabilities_of(answer) != pytest.approx(itself, abs=1e-4)


def test_augmentation_is_switched_by_a_header_too_and_off_by_default(handler: Loaded) -> None:
    frames = frames_of(30)
    on, header, off, plain = ask(
        handler,
        as_json({"instances": [{"frames": frames}], "tta": True}),
        as_npy(frames, **{"X-TTA": "true"}),
        as_json({"frames": frames, "tta": False}, **{"X-TTA": "true"}),
        as_npy(frames, **{"X-TTA": "False"}),
    )
    averaged, alone = probabilities_of(header[1]), probabilities_of(plain[1])
    assert {one["label"]: one["probability"] for one in on[1]["predictions"][0]} == pytest.approx(averaged, abs=1e-6)
    assert probabilities_of(off[1]) == pytest.approx(alone, abs=1e-6)
    assert alone != pytest.approx(averaged, abs=1e-4)


@pytest.fixture
def shapes(handler: Loaded, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the landmarks of every pass of the test, in order."""
    shapes: list[tuple[int, ...]] = []
    run = handler.engine.run

    def watched(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        shapes.append(inputs["landmarks"].shape)
        return run(inputs)

    monkeypatch.setattr(handler.engine, "run", watched)
    return shapes


def test_five_views_of_the_longest_sequence_cost_as_much_as_of_a_short_one(
    handler: Loaded, shapes: list[tuple[int, ...]]
) -> None:
    answers = ask(handler, *(as_npy(frames_of(count), **{"X-TTA": "true"}) for count in (MAX_FRAMES, 30)))
    assert [status for status, _ in answers] == [200, 200]
    assert {frames for _, frames, _ in shapes} == {51}


def test_views_fill_a_pass_no_further_than_its_limit(handler: Loaded, shapes: list[tuple[int, ...]]) -> None:
    ask(handler, as_npy(frames_of(100)), *(as_npy(frames_of(20), **{"X-TTA": "true"}) for _ in range(4)))
    assert sum(rows for rows, _, _ in shapes) == 21
    assert all(rows * frames <= handler.pass_limit for rows, frames, _ in shapes)


def test_an_explanation_names_parts_and_quarters(handler: Loaded) -> None:
    [(status, answer)] = ask(handler, as_npy(frames_of(40), explain="True"))
    assert status == 200
    assert set(answer["explanations"]["attributions"]) >= {"pose", "left_hand", "right_hand", "time_quarter_4"}
    assert answer["explanations"]["label"] == answer["predictions"][0]["label"]


BAD = bad_requests()


def test_there_are_at_least_forty_kinds_of_bad_input() -> None:
    assert len(BAD) >= 40


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.integers(-90, 90), st.sampled_from(sorted(BAD))), min_size=1, max_size=12))
def test_bad_requests_never_change_a_neighbours_answer(handler: Loaded, mix: list[int | str]) -> None:
    requests = [  # a negative length is answered from five views
        as_npy(frames_of(abs(one) + 1, seed=abs(one)), **({"X-TTA": "true"} if one < 0 else {}))
        if isinstance(one, int)
        else (BAD[one].body, BAD[one].headers)
        for one in mix
    ]
    for one, request, (status, answer) in zip(mix, requests, ask(handler, *requests), strict=True):
        if isinstance(one, str):
            assert status == BAD[one].status
            continue
        [(_, alone)] = ask(handler, request)
        assert status == 200
        for mine, single in zip(answer["predictions"], alone["predictions"], strict=True):
            assert mine["label"] == single["label"]
            assert mine["probability"] == pytest.approx(single["probability"], abs=1e-6)


def handless() -> np.ndarray:
    frames = frames_of(13)
    frames[:, LEFT_HAND.start * AXES :] = 0
    return frames


def find_handless(inputs: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray((inputs["landmarks"][:, :, LEFT_HAND.start * AXES :] == 0).all((1, 2)))


def test_a_failing_forward_pass_hurts_only_its_cause(handler: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    run = handler.engine.run

    def fragile(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if find_handless(inputs).any():
            raise RuntimeError("kernel failed")
        return run(inputs)

    monkeypatch.setattr(handler.engine, "run", fragile)
    answers = ask(handler, *(as_npy(handless() if index == 3 else frames_of(12, seed=index)) for index in range(7)))
    assert [status for status, _ in answers] == [590 if index == 3 else 200 for index in range(7)]
    assert "kernel" not in json.dumps(answers[3][1])


def test_an_answer_that_is_not_a_number_is_our_fault(handler: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    run = handler.engine.run

    def poisoned(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = {name: array.copy() for name, array in run(inputs).items()}
        outputs["logits"][find_handless(inputs)] = np.nan
        return outputs

    monkeypatch.setattr(handler.engine, "run", poisoned)
    answers = ask(handler, as_npy(frames_of(12)), as_npy(handless()), as_npy(frames_of(14)))
    assert [status for status, _ in answers] == [200, 590, 200]


def test_a_cuda_error_ends_the_worker(handler: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")

    ended: list[int] = []

    def exit_(code: int) -> None:
        ended.append(code)
        raise SystemExit(code)

    monkeypatch.setattr(handler._batch, "_on_gpu", True)
    monkeypatch.setattr(handler.engine, "run", dead)
    monkeypatch.setattr("handlers.batch.os._exit", exit_)
    with pytest.raises(SystemExit):
        ask(handler, as_npy(frames_of(3)))
    assert ended == [1]


def test_long_sequences_do_not_share_a_pass_beyond_the_limit(handler: Loaded, shapes: list[tuple[int, ...]]) -> None:
    ask(handler, *(as_npy(frames_of(length)) for length in (400, 30, 600, 30, 200, 30)))
    assert all(rows * frames <= handler.pass_limit or rows == 1 for rows, frames, _ in shapes)
    assert sum(rows for rows, _, _ in shapes) == 6 and len(shapes) < 6


def test_frames_are_read_off_a_numpy_saved_file(handler: Loaded) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros((4, WIDTH), np.float32) + 0.5)
    [(status, _)] = ask(handler, (stream.getvalue(), {"content-type": NPY}))
    assert status == 200


@pytest.mark.parametrize("value", [0.0, np.nan])
@pytest.mark.parametrize("kind", ["after", "before", "both"])
def test_frames_with_nothing_seen_do_not_change_the_answer(handler: Loaded, value: float, kind: str) -> None:
    frames = frames_of(37)
    empty = np.full((80, WIDTH), value, np.float32)
    padded = {"after": [frames, empty], "before": [empty, frames], "both": [empty, frames, empty]}[kind]
    (_, alone), (status, answer) = ask(handler, as_npy(frames), as_npy(np.concatenate(padded)))
    assert status == 200
    assert probabilities_of(answer) == pytest.approx(probabilities_of(alone), abs=1e-6)


def test_a_held_first_or_last_frame_does_not_change_the_answer(handler: Loaded) -> None:
    frames = frames_of(37)
    held = [
        np.concatenate([np.repeat(frames[:1], 90, 0), frames]),
        np.concatenate([frames, np.repeat(frames[-1:], 30, 0)]),
    ]
    (_, alone), *answers = ask(handler, as_npy(frames), *map(as_npy, held))
    for _, answer in answers:
        assert probabilities_of(answer) == pytest.approx(probabilities_of(alone), abs=1e-6)


@pytest.mark.parametrize("name", sorted(implausible()))
@pytest.mark.parametrize("send", [as_npy, lambda frames: as_json({"instances": [{"frames": frames}]})])
def test_what_cannot_be_right_is_refused_with_the_likely_mistake(
    handler: Loaded, name: str, send: Callable[[np.ndarray], tuple[bytes, dict[str, str]]]
) -> None:
    frames, hint = implausible()[name]
    [(status, answer)] = ask(handler, send(frames))
    assert status == 422
    assert answer["error"]["field"] in ("frames", "instances[0].frames")
    assert hint in answer["error"]["message"]


@pytest.mark.parametrize("name", sorted(unusual()))
def test_what_is_possible_and_unusual_is_answered_with_a_warning(handler: Loaded, name: str) -> None:
    frames, hint = unusual()[name]
    (status, alone), (_, many) = ask(handler, as_npy(frames), as_json({"instances": [{"frames": frames}]}))
    assert status == 200
    [warning] = [one for one in alone["warnings"] if hint in one["message"]]
    assert warning["field"] == "frames"
    assert "instances[0].frames" in {one["field"] for one in many["warnings"]}


@pytest.mark.parametrize("name", sorted(sound()))
def test_what_is_sound_is_answered(handler: Loaded, name: str) -> None:
    [(status, _)] = ask(handler, as_npy(sound()[name]))
    assert status == 200


def test_an_archive_without_ranges_and_samples_is_asked_all_that_was_sent(
    handler: Loaded, shapes: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = replace(handler.contract, possible={}, usual={}, limits={"frames": MAX_FRAMES})
    monkeypatch.setattr(handler, "contract", old)
    world, _ = implausible()["world landmarks"]
    [(status, answer)] = ask(handler, as_npy(world))
    assert (status, "warnings" in answer) == (200, False)
    assert shapes == [(1, len(world), WIDTH)]
