"""The client against a real server: its page's examples, and no call lost while workers are killed."""

import asyncio
import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from marina.client import Answer, AsyncClient, Client, InvalidError
from models.code_health.features import READS
from tests.families.code_health import rows
from tests.marina.client import products
from tests.serving import ROOT, Server, manage, running
from training.code_health.recipe import Options, train
from training.code_health.release import release
from training.code_health.synthetic.rows import Synthesis
from training.packaging.archive import build

README = (ROOT / "marina" / "client" / "README.md").read_text()
CALLS = 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    tiny = Synthesis(projects=5, years=3.5)
    options = Options(
        home=tmp_path_factory.mktemp("home"), models=("code_risk",), synthesis=tiny, trials=1, explained=0
    )
    archive = build(release(train(options)["code_risk"], "1.0"), tmp_path_factory.mktemp("store")).path
    with running([archive], {"request_timeout_s": 8, "inference_tokens": '["a-token-of-sixteen-letters"]'}) as server:
        assert manage(server, "PUT", "/models/code_risk/1.0?min_worker=2&max_worker=2").is_success
        end = time.monotonic() + 120
        while len(server.worker_pids("code_risk")) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        yield server


@pytest.fixture
def environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARINA_URL", server.url)
    monkeypatch.setenv("MARINA_TOKEN", server.client_tokens[0])


def test_the_examples_of_its_page_run(
    environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) == 7
    known: dict[str, object] = {"__name__": "example"}
    with products.running(products.Store()) as url:
        for block in blocks:
            of_products = "feature_store" in block or "market" in block
            if of_products:
                with Client(url) as client:
                    exec(compile(block, "README.md", "exec"), known | {"client": client})
            else:
                exec(compile(block, "README.md", "exec"), known)
    said = capsys.readouterr().out
    for words in ("code_risk 1.0", "instances[1].features", "('early',)", "31.0 fresh", "alert 1 SPIKE_LIKELY 0.7",
                  "422 invalid features"):  # fmt: skip
        assert words in said or words.replace("early", "recorded") in said, words


def features(seed: int) -> dict[str, float]:
    return dict(zip(READS["code_risk"], rows("code_risk", 1, seed)[0].tolist(), strict=True))


def test_many_are_answered_in_their_order_over_several_requests(environment: None) -> None:
    with Client() as client:
        answers = client.predict_many("code_risk", [features(number) for number in range(300)])
        alone = [client.predict("RiskPredictor", features(number)) for number in (0, 255, 256, 299)]
    assert [answer.instance for answer in answers] == [*range(256), *range(44)]
    assert len({answer.request_id for answer in answers}) == 2
    chosen = [answers[number] for number in (0, 255, 256, 299)]
    assert [one.value for one in alone] == pytest.approx([one.value for one in chosen], abs=1e-6)


def test_a_wrong_token_is_said_at_once(server: Server) -> None:
    with Client(server.url, "another-token-of-letters") as client, pytest.raises(InvalidError) as refused:
        client.predict("RiskPredictor", features(0))
    assert refused.value.status == 401


@contextlib.contextmanager
def killing(server: Server, answers: list[Answer]) -> Iterator[list[int]]:
    """Kill one of the model's workers after every 250 answers, so that it serves in between on any machine."""
    stop, killed = threading.Event(), list[int]()

    def kill() -> None:
        while not stop.wait(0.02):
            if len(answers) < 100 + 250 * len(killed):
                continue
            for pid in server.worker_pids("code_risk")[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


def by_threads(answers: list[Answer]) -> None:
    with Client(deadline_s=240) as client, ThreadPoolExecutor(16) as pool:
        asked = (pool.submit(client.predict, "RiskPredictor", features(number % 50)) for number in range(CALLS))
        for future in list(asked):
            answers.append(future.result())


def by_tasks(answers: list[Answer]) -> None:
    async def ask() -> None:
        async with AsyncClient(deadline_s=240) as client:
            turn = asyncio.Semaphore(16)

            async def one(number: int) -> Answer:
                async with turn:
                    return await client.predict("RiskPredictor", features(number % 50))

            for task in [asyncio.create_task(one(number)) for number in range(CALLS)]:
                answers.append(await task)

    asyncio.run(ask())


@pytest.mark.slow
@pytest.mark.parametrize("ask", [by_threads, by_tasks])
def test_of_a_thousand_calls_none_is_lost_while_workers_are_killed(
    environment: None, server: Server, ask: Callable[[list[Answer]], None]
) -> None:
    with Client() as client:
        expected = [client.predict("RiskPredictor", features(number)).value for number in range(50)]
    answers: list[Answer] = []
    with killing(server, answers) as killed:
        ask(answers)
    assert killed
    assert len({answer.request_id for answer in answers}) == CALLS
    assert [answer.value for answer in answers] == pytest.approx(expected * (CALLS // 50), abs=1e-5)
    server.wait()
