"""No input whatever is the server's fault, or a neighbour's: every model of every family, by chance.

``MARINA_TEST_INPUTS=5000 pytest tests/handlers/test_any_input.py`` tries so many batches per model.
"""

import functools
import json
import os
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.grammar import Grammar
from tests.handlers.every import MODELS, as_json, ask, close, family

BATCHES = int(os.environ.get("MARINA_TEST_INPUTS", "60"))


@functools.cache
def alone(model: str) -> list[Any]:
    """Return what each good request gets when it is alone."""
    return [ask(model, as_json(body))[0][1]["predictions"] for body in family(model).good(model)]


@pytest.mark.parametrize("model", MODELS)
def test_whatever_is_sent_is_answered_or_refused_and_neighbours_get_theirs(model: str) -> None:
    good = family(model).good(model)
    expected = alone(model)

    @settings(max_examples=BATCHES, deadline=None)
    @given(chance=st.randoms(use_true_random=False), count=st.integers(1, 4))
    def holds(chance: random.Random, count: int) -> None:
        grammar = Grammar(chance, good)
        odd = [grammar.request() for _ in range(count)]
        mine = chance.randrange(len(good))
        place = chance.randrange(count + 1)
        requests = [(one.body, one.headers) for one in odd]
        requests.insert(place, as_json(good[mine]))
        answers = ask(model, *requests)
        for request, (status, answer) in zip(requests, answers, strict=True):
            assert status < 500, (request, answer)
            assert status == 200 or len(json.dumps(answer)) < 8000, answer  # of what was sent little is repeated
        status, answer = answers[place]
        assert status == 200
        assert close(answer["predictions"], expected[mine])

    holds()
