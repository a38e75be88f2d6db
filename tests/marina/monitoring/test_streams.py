"""Streams are what the reference says they are: seen again, it is where it was."""

import numpy as np
import pytest

from archives.reference import Reference
from marina.monitoring.power import detectable, requests_needed
from marina.monitoring.rarity import Rarity
from marina.monitoring.streams import Bins, Requests, Watchlist
from tests.marina.monitoring.watched import reference


def as_requests(known: Reference) -> Requests:
    assert known.predicted is not None and known.confidence is not None
    labels = [known.labels[place] for place in known.predicted.tolist()]
    rows = len(labels)
    return Requests(known.summary, labels, known.confidence.astype(float), np.arange(rows), served=rows)


def test_the_reference_itself_is_where_every_stream_expects_it() -> None:
    known = reference()
    watchlist = Watchlist.of(known)
    batch = watchlist.observe(as_requests(known))
    for place, stream in enumerate(watchlist.streams):
        assert batch.count[place] == 4_000
        within = 0.1 if stream.kind == "unlike" else 1e-6
        assert batch.mean[place] == pytest.approx(stream.share, abs=within), stream
    assert (batch.mean <= watchlist.limits(0.01)).all()
    assert len({stream.name for stream in watchlist.streams}) == len(watchlist.streams)


def test_shares_of_a_quantitys_bins_come_to_one() -> None:
    watchlist = Watchlist.of(reference())
    batch = watchlist.observe(as_requests(reference(500, seed=9)))
    hue = [place for place, one in enumerate(watchlist.streams) if one.kind == "feature" and one.of == "hue"]
    assert len(hue) == 10 and batch.mean[hue].sum() == pytest.approx(1)


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.5, 3.0, 8.0])
def test_a_constant_that_changes_is_in_another_bin_whichever_way(value: float) -> None:
    bins = Bins.of(np.full(100, 3, np.float32))
    counts = bins.count(np.full(10, value, np.float32))
    assert counts.sum() == 10 and (counts[bins.counts > 0].sum() == 10) == (value == 3.0)
    assert {bins.name(place) for place in range(len(bins.counts))} == {"at most 3", "exactly 3", "more than 3"}


def test_missing_numbers_are_a_stream_of_their_own() -> None:
    known = reference()
    hue = known.summary["hue"].copy()
    hue[:1_000] = np.nan
    changed = Watchlist.of(known)
    batch = changed.observe(
        as_requests(Reference({**known.summary, "hue": hue}, known.confidence, known.predicted, known.labels))
    )
    by_name = {one.name: batch.mean[place] for place, one in enumerate(changed.streams)}
    assert by_name["hue[missing]"] == pytest.approx(0.25) and by_name["size[missing]"] == 0


def test_what_is_unlike_as_a_whole_is_found_where_no_quantity_is_unusual() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=1_000).astype(np.float32)
    tied = Rarity({"x": x, "y": (x + 0.05 * rng.normal(size=1_000)).astype(np.float32)})
    other = rng.normal(size=500).astype(np.float32)
    healthy = tied.p_values({"x": other, "y": (other + 0.05 * rng.normal(size=500)).astype(np.float32)})
    apart = tied.p_values({"x": other, "y": rng.permutation(other)})
    assert healthy.mean() == pytest.approx(0.5, abs=0.05) and (healthy <= 0.1).mean() < 0.15
    assert np.median(apart) < 0.02
    assert not Rarity({}) and not Rarity({"x": x[:5], "y": x[:5]})


def test_a_model_without_a_reference_is_watched_for_errors_alone() -> None:
    watchlist = Watchlist.of(Reference())
    assert [one.kind for one in watchlist.streams] == ["errors"]
    nothing = Requests({}, [None] * 3, np.full(3, np.nan), np.arange(3), served=100, errors=2)
    assert watchlist.observe(nothing).mean[0] == pytest.approx(0.02)
    assert watchlist.limits(0.01)[0] == pytest.approx(0.01, abs=1e-6)


def test_what_a_day_could_have_shown_needs_that_days_requests() -> None:
    share = detectable(0.12, 5_000, 40, 0.5)
    assert 0.13 < share < 0.2
    assert requests_needed(share, 0.12, 40, 0.5) == pytest.approx(5_000, rel=1e-6)
    assert detectable(0.12, 5_000, 40, 0.5, dispersion=4) > share
    assert detectable(0.12, 3, 40, 0.5) == 1.0 and detectable(0.12, 0, 40, 0.5) == 1.0
    assert requests_needed(0.1, 0.12, 40, 0.5) == float("inf")
