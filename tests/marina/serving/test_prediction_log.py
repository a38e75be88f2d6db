"""The prediction log from a real worker to the database."""

import contextlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import EVIDENCE, INPUTS, PREDICTIONS
from tests.families.signflow import frames_of
from tests.serving import running

SIEGE_S = 8.0
BODY = {"frames": frames_of(4).tolist(), "session": "nobody's business"}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_answer_is_logged_once_while_workers_are_killed(signflow_archive: Path) -> None:
    answered: list[str] = []
    settings: dict[str, str | int | float] = {
        "log_input_share": 1.0,
        "log_redact": '["session"]',
        "replica": "here",
        "request_timeout_s": 60,
    }
    with running([signflow_archive], settings) as server:
        stop = threading.Event()

        def ask(client_number: int) -> None:
            with httpx.Client(base_url=server.url, timeout=120) as client:
                for number in range(10_000):
                    if stop.is_set():
                        return
                    request_id = f"{client_number}-{number}"
                    answer = client.post("/predictions/signflow", json=BODY, headers={"X-Request-Id": request_id})
                    assert answer.status_code == 200, answer.text
                    answered.append(request_id)

        with ThreadPoolExecutor(6) as pool:
            asking = [pool.submit(ask, number) for number in range(6)]
            end = time.monotonic() + SIEGE_S
            while time.monotonic() < end:
                time.sleep(2)
                with contextlib.suppress(ProcessLookupError, IndexError):
                    os.kill(server.worker_pids("signflow")[0], signal.SIGKILL)
            stop.set()
            for one in asking:
                one.result()
        asked = httpx.post(f"{server.url}/predictions/signflow/1.0", json=BODY, headers={"X-Request-Id": "asked-for"})
        assert asked.status_code == 200

        database = Database(f"sqlite:///{server.state_dir}/marina.db")
        expected = sorted([*answered, "asked-for"])
        deadline = time.monotonic() + 60
        while True:
            with database.reading() as connection:
                logged = connection.execute(sa.select(PREDICTIONS.c.request_id, PREDICTIONS.c.picked)).all()
                counted = connection.execute(sa.select(sa.func.sum(EVIDENCE.c.requests))).scalar() or 0
            if (len(logged) >= len(expected) and counted >= len(answered)) or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        assert sorted(row.request_id for row in logged) == expected
        assert [row.request_id for row in logged if not row.picked] == ["asked-for"]
        assert counted == len(answered)
        with database.reading() as connection:
            assert connection.execute(sa.select(EVIDENCE.c.replica).distinct()).scalars().all() == ["here"]
            bodies = connection.execute(sa.select(INPUTS.c.body)).scalars().all()
        assert len(bodies) == len(expected)
        assert all(b"session" not in body and body.startswith(b'{"frames":') for body in bodies)
        database.close()
    assert len(answered) > 50
