"""Command-line options that every family's recipe has."""

from __future__ import annotations

import argparse


def add_shared(parser: argparse.ArgumentParser, data: str) -> None:
    """Add ``--data``, ``--on-bad`` and ``--seed``.

    Parameters
    ----------
    parser
        Of a family's command.
    data
        What recorded data may be, after 'or', for the help.
    """
    parser.add_argument("--data", default="synthetic", metavar="PATH", help=f'"synthetic" (default), or {data}')
    parser.add_argument(
        "--on-bad", choices=("skip", "refuse"), default="skip", help="what to do about bad data (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all chance (default: %(default)s)")


def add_search(parser: argparse.ArgumentParser, trials: int | None, budget_s: float) -> None:
    """Add ``--trials`` and ``--budget-s``, with their defaults; None where each of several models has its own."""
    usual = "each model's own" if trials is None else "%(default)s"
    parser.add_argument("--trials", type=int, default=trials, help=f"candidates of each search (default: {usual})")
    parser.add_argument(
        "--budget-s", type=float, default=budget_s, help="no trial begins after so many seconds (default: %(default)s)"
    )
