"""What workers and the gateway leave in files, and what has come of it in the database."""

import json
from pathlib import Path

import sqlalchemy as sa

from handlers.spool import Answered, Sampling, Spool
from marina.database.connection import Database
from marina.database.tables import EVIDENCE, PREDICTIONS
from marina.events.collector import Collector
from marina.events.latency_histogram import from_json

ANSWER = (
    b'{"model":"m","version":"1","request_id":"%b","predictions":[{"label":"yes","probability":0.9}],"serving_ms":1.5}'
)


def answered(request_id: str) -> Answered:
    headers = {"content-type": "application/json", "x-picked": "1"}
    return Answered(request_id, headers, b'{"a": 1}', False, ANSWER % request_id.encode())


def gateway_line(request_id: str, msec: float = 1000.0, version: str = "1") -> bytes:
    said = {"id": request_id, "msec": msec, "model": "m", "version": version, "picked": "1", "status": 200}
    return json.dumps(said | {"seconds": 0.004, "upstream": "200", "path": "/predictions/m"}).encode() + b"\n"


def append(path: Path, lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(lines)


def folders(home: Path) -> tuple[Path, Path]:
    for name in ("spool", "logs"):
        (home / name).mkdir(exist_ok=True)
    return home / "spool", home / "logs"


def worker(folder: Path, **sampling: float) -> Spool:
    return Spool(folder, "m", "1", Sampling(**sampling), 1 << 28)  # type: ignore[arg-type]


def logged(database: Database) -> list[str]:
    with database.reading() as connection:
        return list(
            connection.execute(sa.select(PREDICTIONS.c.request_id).order_by(PREDICTIONS.c.request_id)).scalars()
        )


def counted(database: Database) -> int:
    """Return the gateway's requests; latencies must agree with them."""
    with database.reading() as connection:
        rows = connection.execute(sa.select(EVIDENCE)).all()
    assert all(sum(from_json(row.latencies).values()) == row.requests for row in rows)
    return sum(row.requests for row in rows)


def finish(one: Collector) -> None:
    while one.step():
        pass
