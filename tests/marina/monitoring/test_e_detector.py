"""The mathematics of the detectors, against naive loops and against what it promises."""

import math

import numpy as np
import pytest

from marina.monitoring import e_detector
from marina.monitoring.detector import Detector
from marina.monitoring.dispersion import FAR, MARGIN, MEMORY, PRIOR, SCALES, WARM_UP, Dispersion
from marina.monitoring.e_detector import FRACTIONS, LOG_SHARES, STEPS, Batch, moved_streams
from marina.monitoring.limits import Z, limit
from models.quality.intervals import upper_bound


def naive_sums(batches: list[tuple[float, float, float]], m: float, months: list[float]) -> float:
    """Sum over every start the product of e-values since: what (R + w) * e computes."""
    total = 0.0
    for place, share in enumerate(np.exp(LOG_SHARES)):
        values = []
        for count, mean, dispersion in batches:
            if place < len(STEPS):
                other = 1 / (1 + math.exp(-(math.log(m / (1 - m)) + STEPS[place])))
                ratio = (other / m) ** mean * ((1 - other) / (1 - m)) ** (1 - mean)
                values.append(ratio ** (count / dispersion))
            else:
                values.append(1 + FRACTIONS[place - len(STEPS)] / m * (mean - m))
        total += share * sum(months[start] * math.prod(values[start:]) for start in range(len(values)))
    return math.log(total)


def test_the_recursion_is_the_sum_over_every_start() -> None:
    rng = np.random.default_rng(1)
    batches = [(256.0, float(rng.beta(2, 12)), float(1 + rng.random())) for _ in range(30)]
    months = list(rng.random(30) / 500)
    state = e_detector.start((1,))
    for (count, mean, dispersion), part in zip(batches, months, strict=True):
        batch = Batch(np.array([count]), np.array([mean]))
        state = e_detector.advance(state, e_detector.bet(batch, np.array([0.12]), np.array([dispersion])), part)
    assert e_detector.evidence(state)[0] == pytest.approx(naive_sums(batches, 0.12, months), rel=1e-9)


@pytest.mark.parametrize("m", [0.0138, 0.12, 0.5, 0.97])
@pytest.mark.parametrize("repeats", [1, 4, 32])
def test_no_bet_is_expected_to_win_while_the_mean_is_the_limit(m: float, repeats: int) -> None:
    groups = 32 // repeats
    hits = np.arange(groups + 1)
    log_ways = [math.lgamma(groups + 1) - math.lgamma(k + 1) - math.lgamma(groups - k + 1) for k in hits]
    probability = np.exp(np.array(log_ways) + hits * math.log(m) + (groups - hits) * math.log1p(-m))
    batch = Batch(np.full((groups + 1, 1), 32.0), (hits / groups)[:, None])
    bets = np.exp(e_detector.bet(batch, np.array([m]), np.array([float(repeats)])))[:, 0]
    assert (probability @ bets <= 1 + 1e-9).all()


def test_a_bet_on_numbers_is_no_better_than_one_on_the_same_mean_of_zeros_and_ones() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.beta(0.24, 1.76, (20_000, 64))  # mean 0.12
    batch = Batch(np.full((20_000, 1), 64.0), numbers.mean(axis=1)[:, None])
    bets = np.exp(e_detector.bet(batch, np.array([0.12]), np.array([1.0])))[:, 0]
    assert (bets.mean(axis=0) < 1.05).all()


def test_a_stream_without_numbers_is_left_as_it_is() -> None:
    batch = Batch(np.array([0.0]), np.array([np.nan]))
    detector = Detector.start([0.1])
    before = detector.step(Batch(np.array([100.0]), np.array([0.1])), 3600.0)
    after = detector.step(batch, 3600.0)
    assert np.isfinite(after).all() and after[0] >= before[0]
    assert detector.dispersion.batches[0] == 1


def test_logarithms_hold_evidence_that_no_number_holds() -> None:
    detector = Detector.start([0.05])
    for _ in range(400):
        found = detector.step(Batch(np.array([5_000.0]), np.array([0.9])), 3600.0)
    assert np.isfinite(found).all() and found[0] > 1_000


def naive_moved(found: list[float], budget: float) -> set[int]:
    named: set[int] = set()
    for k in range(1, len(found) + 1):
        strong = {place for place, one in enumerate(found) if math.exp(one) >= len(found) / (budget * k)}
        if len(strong) >= k:
            named = strong
    return named


def test_streams_are_named_as_e_bh_does() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        found = rng.normal(2, 1.5, 12)
        moved = set(np.flatnonzero(moved_streams(found, 0.5)).tolist())
        assert moved == naive_moved(found.tolist(), 0.5)
        if moved:
            assert np.exp(found).mean() >= 1 / 0.5


def test_dispersion_is_computed_as_a_loop_computes_it() -> None:
    rng = np.random.default_rng(3)
    means = rng.binomial(16, 0.1, 300) / 16
    kept = Dispersion.start(np.array([0.12]))
    for mean in means:
        kept.add(Batch(np.array([256.0]), np.array([mean])), np.array([0.12]))
    running, ratios = means[0], []
    deviations = []
    for number, mean in enumerate(means):
        share = min(max(running, 0.03), 0.75)
        deviations.append((256 * (mean - running), 256 * share * (1 - share)))
        running += (mean - running) / min(number + 1, MEMORY)
    for scale in SCALES.tolist():
        ratio = 1.0
        for block in range(len(means) // scale):
            part = deviations[block * scale : (block + 1) * scale]
            squared = sum(one for one, _ in part) ** 2 / sum(one for _, one in part)
            if (block + 1) * scale > WARM_UP:
                squared = min(squared, FAR * max(ratio, 1))
            ratio += (squared - ratio) / (min(block, MEMORY) + PRIOR + 1)
        ratios.append(ratio)
    assert kept.ratio[0] == pytest.approx(ratios)
    assert kept.estimate()[0] >= MARGIN * ratios[0]


def test_clients_that_repeat_themselves_are_taken_for_fewer() -> None:
    rng = np.random.default_rng(4)
    kept = Dispersion.start(np.full(2, 0.12))
    assert np.isinf(kept.estimate()).all()
    for _ in range(200):
        means = np.array([rng.binomial(256, 0.1) / 256, rng.binomial(16, 0.1) / 16])
        kept.add(Batch(np.full(2, 256.0), means), np.full(2, 0.12))
    alone, repeated = kept.estimate()
    assert 1 <= alone < 2.5 and 10 < repeated < 40


def test_the_limit_is_above_the_reference_by_what_is_not_known_and_the_tolerance() -> None:
    assert upper_bound(0.1, 2_000, Z) == pytest.approx(0.1116, abs=1e-4)  # Wilson, one-sided 95 %
    assert limit(0.1, 10**9, 0.01) == pytest.approx(0.11, abs=1e-4)
    assert limit(0.0, 100, 0.0) > 0.02 and limit(1.0, 100, 0.01) == 1.0
    assert upper_bound(0.5, 0, Z) == pytest.approx(1.0, abs=1e-3)
