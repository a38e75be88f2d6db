"""A console that is killed in the middle of deciding: each decision happened once or not at all."""

import subprocess
import sys
import time

import sqlalchemy as sa

from marina.database.tables import ALERT_ACTIONS, ALERTS, LEDGER
from marina.monitoring import alerts
from marina.releases import ledger
from marina.settings import ROOT
from tests.marina.console.browser import Console, finding

DECIDE = """
import sys
from marina.console.decisions import Decisions
from marina.console.people import Person
from marina.releases.heads import open_database
from marina.settings import Settings

settings = Settings(state_dir=sys.argv[1])
decisions = Decisions(open_database(settings), settings)
for number in range(1, 301):
    decisions.decide(Person("ada", "operator", 0.0, "", None, 0.0), number, "nothing", "a test")
    print(number, flush=True)
"""


def test_each_decision_happened_once_or_not_at_all(console: Console) -> None:
    for number in range(299):
        alerts.open_alert(console.database, finding(name=f"n{number}"), time.time())
    command = [sys.executable, "-c", DECIDE, str(console.settings.state_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(20)]
        child.kill()
    with console.database.reading() as connection:
        assert ledger.verify(connection) == []
        decided = connection.execute(sa.select(sa.func.count()).where(ALERTS.c.state == "decided")).scalar_one()
        acts = connection.execute(sa.select(sa.func.count()).select_from(ALERT_ACTIONS)).scalar_one()
        rows = connection.execute(sa.select(sa.func.count()).where(LEDGER.c.action == "decide alert")).scalar_one()
    assert len(said) <= decided == acts == rows < 300
