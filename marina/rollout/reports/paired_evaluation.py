"""Two archives asked the same labelled requests, each on a real server of its own."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from archives.archive import open_archive
from archives.errors import MarinaError
from marina.events.predictions import read_prediction
from marina.rollout.judge.evidence import Pairs
from marina.rollout.reports.comparison import pairs_of
from marina.serving import temporary_server

AT_ONCE = 8


class DataError(MarinaError, ValueError):
    """A file of labelled requests cannot be used; the message names the line and what was expected."""


@dataclass(frozen=True)
class Question:
    """A request body, and the label of its right answer."""

    body: dict[str, Any]
    label: str


def read_questions(path: Path) -> list[Question]:
    """Read a file of lines ``{"input": {...}, "label": "..."}``.

    Raises
    ------
    DataError
        When there is none, or a line is something else.
    """
    questions = []
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        try:
            said = json.loads(line)
            question = Question(said["input"], said["label"])
        except (ValueError, KeyError, TypeError):
            question = Question({}, "")
        if not (isinstance(question.body, dict) and question.body and isinstance(question.label, str)):
            raise DataError(f'{path}, line {number}: expected {{"input": {{...}}, "label": "..."}}, got {line[:60]!r}')
        questions.append(question)
    if not questions:
        raise DataError(f"{path} is empty")
    return questions


def ask_both(baseline: Path, candidate: Path, questions: Sequence[Question]) -> Pairs:
    """Ask both archives, one after the other; an answer that is an error is a wrong one."""
    before, after = (_right(archive, questions) for archive in (baseline, candidate))
    return pairs_of(before, after)


def _right(archive: Path, questions: Sequence[Question]) -> list[bool]:
    one = open_archive(archive).contract
    with temporary_server.running([archive]) as server, httpx.Client(base_url=server.url, timeout=60) as client:

        def ask(question: Question) -> bool:
            answer = client.post(f"/predictions/{one.model}/{one.version}", json=question.body)
            return answer.is_success and read_prediction(answer.json()["predictions"]).label == question.label

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(ask, questions))
