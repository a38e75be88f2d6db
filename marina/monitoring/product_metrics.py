"""The products' interface, for Prometheus: what marina.products.measures keeps in a table."""

import json
from collections import defaultdict
from collections.abc import Iterable

import sqlalchemy as sa

from marina.database.product_tables import PRODUCT_TOTALS, RECOMMENDATIONS, TRUTHS_OF_RULES
from marina.events.exposition import Row, write_family

ABOUT = {
    "marina_product_requests_total": "Requests to the products' interface, by route and status.",
    "marina_product_seconds_total": "Seconds in which they were answered.",
    "marina_answer_cache_total": "Looks into the answer caches, by level and whether an answer was there.",
    "marina_answer_cache_evicted_total": "Answers that made room for others.",
    "marina_answer_cache_errors_total": "Failures of the second cache.",
    "marina_answer_cache_bytes": "Memory of the first cache.",
    "marina_answer_cache_entries": "Answers in the first cache.",
    "marina_answer_cache_up": "Whether the second cache is asked: 0 while it fails.",
}


def collect_products(connection: sa.Connection, now: float) -> Iterable[list[str]]:
    """Write the families of this module."""
    del now
    rows: dict[str, list[Row]] = defaultdict(list)
    order = (PRODUCT_TOTALS.c.name, PRODUCT_TOTALS.c.replica, PRODUCT_TOTALS.c.labels)
    for row in connection.execute(sa.select(PRODUCT_TOTALS).order_by(*order)):
        rows[row.name].append(({"replica": row.replica, **json.loads(row.labels)}, row.value))
    for name, about in ABOUT.items():
        yield write_family(name, "counter" if name.endswith("_total") else "gauge", about, rows[name])
    given = RECOMMENDATIONS.c
    judged = sa.select(given.relevant, sa.func.count()).where(given.relevant.is_not(None)).group_by(given.relevant)
    found: list[Row] = [
        ({"relevant": "yes" if relevant else "no"}, count) for relevant, count in connection.execute(judged)
    ]
    yield write_family("marina_recommendations_judged", "gauge", "Recommendations, by what users found of them.", found)
    truth = TRUTHS_OF_RULES.c
    right = truth.label == truth.predicted
    counted = connection.execute(sa.select(right, sa.func.count()).group_by(right))
    found = [({"right": "yes" if is_right else "no"}, count) for is_right, count in counted]
    yield write_family("marina_rule_answers_judged", "gauge", "Answers of rules alone, by what was true.", found)
