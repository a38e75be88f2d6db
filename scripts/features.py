"""The feature store: what it holds, how it is written, and whether what is served is what training sees.

    python scripts/features.py views                                       # every view, its features and their TTL
    python scripts/features.py get code_health my-project --groups git code
    python scripts/features.py history household asked.csv --out rows.csv  # columns entity, time: as was known then
    python scripts/features.py history household asked.csv --as-known-at 2026-11-01 --out rows.csv
    python scripts/features.py market candles/ --market main --last 24     # windows that end at the last hours
    python scripts/features.py households accounts.csv                     # a profile per household
    python scripts/features.py refill                                      # bring Redis to the state of the database
    python scripts/features.py parity                                      # compare what was served, bit for bit

Rows of code health are written by scripts/extract_code_features.py --to-store. docs/FEATURES.md describes the store.
Ends with 1 where something could not be done, with 2 where served vectors differ.
"""

import argparse
import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from archives.errors import MarinaError
from marina.features import parity, sources
from marina.features.errors import FeatureStoreError
from marina.features.store import FeatureStore, Written, open_store
from marina.processes.console import show
from marina.settings import read_settings

DIFFER = 2


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("views", help="every view, its features and their TTL")
    get = commands.add_parser("get", help="what is served of entities, as JSON")
    get.add_argument("view")
    get.add_argument("entities", nargs="+", metavar="ENTITY")
    get.add_argument("--groups", nargs="+", help="parts of the view (default: all)")
    history = commands.add_parser("history", help="join a table of entity and time with what was known then")
    history.add_argument("view")
    history.add_argument("asked", type=Path, metavar="CSV", help="columns entity and time (ISO, or seconds since 1970)")
    history.add_argument("--as-known-at", type=_moment, metavar="TIME", help="use what was known at this one moment")
    history.add_argument("--out", type=Path, required=True, metavar="CSV")
    market = commands.add_parser("market", help="write windows of hourly prices")
    market.add_argument("prices", type=Path, help="candles: a file or folder (docs/families/market.md)")
    market.add_argument("--market", default="main", help="name of the set of assets (default: %(default)s)")
    market.add_argument("--last", type=int, default=1, metavar="HOURS", help="how many windows (0: all; default: 1)")
    households = commands.add_parser("households", help="write household profiles")
    households.add_argument("accounts", type=Path, help="transactions with user, date, amount and merchant, CSV")
    refill = commands.add_parser("refill", help="bring Redis to the state of the database")
    refill.add_argument("views", nargs="*", metavar="VIEW", help="which (default: all)")
    commands.add_parser("parity", help="compare the vectors served since the last time with the as-of join")
    options = parser.parse_args(argv)
    try:
        store = open_store(read_settings())
        try:
            return _run(store, options)
        finally:
            asyncio.run(store.aclose())
    except (MarinaError, OSError, ValueError) as error:
        show(error, sys.stderr)
        return 1


def _run(store: FeatureStore, options: argparse.Namespace) -> int:
    if options.command == "views":
        for view in store.views.values():
            print(f"{view.name} of a {view.entity}: {len(view.features)} features, fresh for {view.ttl_s:,.0f} s")
            for group, names in view.groups.items():
                print(f"  {group}: {', '.join(names)}")
    elif options.command == "get":
        vectors = store.read(options.view, options.entities)
        found = {entity: vectors.record(row, options.groups) for row, entity in enumerate(options.entities)}
        print(json.dumps(found, indent=2))
    elif options.command == "history":
        _history(store, options)
    elif options.command == "market":
        from training.market.recorded import read

        known, last = read(options.prices)[0], options.last or None
        _report(sources.write_market_windows(store, options.market, known.times, known.prices, known.context, last))
    elif options.command == "households":
        _report(_households(store, options.accounts))
    elif options.command == "refill":
        for name in options.views or store.views:
            print(f"{name}: {store.refill(name):,} vectors were missing or older online")
    else:
        return _compare(store)
    return 0


def _history(store: FeatureStore, options: argparse.Namespace) -> None:
    asked = _table(options.asked, ("entity", "time"))
    times = [_moment(str(time)) for time in asked["time"]]
    entities = asked["entity"].astype(str).to_list()
    vectors = store.get_historical_features(options.view, entities, times, options.as_known_at)
    joined = pd.DataFrame(vectors.values, columns=list(vectors.view.features))
    joined.insert(0, "event_time", vectors.event_times)
    pd.concat([asked, joined], axis=1).to_csv(options.out, index=False, float_format="%.17g")
    print(
        f"{len(asked):,} rows written to {options.out}; {int(np.isnan(vectors.event_times).sum()):,} have no features"
    )


def _households(store: FeatureStore, file: Path) -> Written:
    accounts = _table(file, ("user", "date", "amount", "merchant"))
    days = pd.to_datetime(accounts["date"]).to_numpy().astype("datetime64[D]").astype(np.int64)
    amounts = accounts["amount"].to_numpy(np.float64)
    return sources.write_households(
        store, accounts["user"].astype(str).to_list(), days, amounts, accounts["merchant"].astype(str).to_numpy(object)
    )


def _compare(store: FeatureStore) -> int:
    differing = 0
    for found in parity.check(store.database, store.views):
        print(
            f"{found.view}: {found.samples:,} served vectors compared, {found.behind:,} a moment behind, "
            f"{found.differing:,} differ"
        )
        for one in found.details:
            print(f"  {json.dumps(one)}")
        differing += found.differing
    return DIFFER if differing else 0


def _table(file: Path, wanted: tuple[str, ...]) -> pd.DataFrame:
    table = pd.read_csv(file)
    if missing := [name for name in wanted if name not in table]:
        raise FeatureStoreError(f"{file} has no column {', '.join(missing)}; expected {', '.join(wanted)}")
    return table


def _report(written: Written) -> None:
    print(f"{written.rows:,} vectors, {written.added:,} of them new")
    if not written.online:
        print("Redis does not answer: they are served from the database until it does", file=sys.stderr)


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


if __name__ == "__main__":
    sys.exit(main())
