import json

import numpy as np
import pytest

from models.signflow.embedding_space import EmbeddingSpace, normalise
from models.signflow.personal import Prototypes, moved_centroids, personalise

SIGNS, WIDTH = 5, 8


@pytest.fixture
def space() -> EmbeddingSpace:
    """Two signers, four takes of each of the signs; along the first axis takes vary most."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(SIGNS), 8)
    noise = rng.normal(0, [1.0] + [0.1] * (WIDTH - 1), (len(labels), WIDTH))
    embeddings = rng.normal(3, 1, (SIGNS, WIDTH))[labels] + noise
    return EmbeddingSpace.around(embeddings, labels, np.tile(["a", "b"], len(labels) // 2), SIGNS)


def probabilities(*rows: list[float]) -> np.ndarray:
    values = np.array(rows)
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def test_a_p_value_is_the_share_of_reference_distances_at_least_as_large(space: EmbeddingSpace) -> None:
    direction = space.directions(np.ones((1, WIDTH)))
    [distance] = space.distances(direction)
    told = EmbeddingSpace(
        space.mean, space.whitening, space.centroids,
        np.sort([distance - 0.3, distance - 0.1, distance, distance + 0.1]), 0.5, 0.1,
    )  # fmt: skip
    assert told.p_values(direction) == pytest.approx([(1 + 2) / 5])  # an equal distance counts


def test_p_values_of_what_is_like_the_reference_are_uniform(space: EmbeddingSpace) -> None:
    rng = np.random.default_rng(1)
    directions = space.directions(rng.normal(3, 1, (4000, WIDTH)))
    told = EmbeddingSpace(
        space.mean, space.whitening, space.centroids, np.sort(space.distances(directions[:2000])), 0.5, 0.1
    )
    p_values = told.p_values(directions[2000:])
    assert (p_values < 0.1).mean() == pytest.approx(0.1, abs=0.03)
    assert p_values.min() >= 1 / 2001


def test_takes_are_compared_less_along_what_varies_between_takes(space: EmbeddingSpace) -> None:
    moved = np.full((3, WIDTH), 4.0)
    moved[1, 0] += 1
    moved[2, 1] += 1
    usual, often, seldom = space.directions(moved)
    assert usual @ often > usual @ seldom


def test_one_take_of_each_says_nothing_of_how_takes_vary() -> None:
    embeddings = np.random.default_rng(0).normal(size=(6, WIDTH))
    space = EmbeddingSpace.around(embeddings, np.arange(6) % 3, np.arange(6).astype(str), 3)
    assert np.array_equal(space.whitening, np.eye(WIDTH))


def test_a_sign_without_clips_has_no_centroid(space: EmbeddingSpace) -> None:
    wider = EmbeddingSpace.around(
        np.random.default_rng(0).normal(size=(4, 3)), np.zeros(4, np.int64), np.array(["a"] * 4), 2
    )
    assert np.linalg.norm(wider.centroids, axis=1) == pytest.approx([1, 0])


def test_what_is_written_is_read_again(space: EmbeddingSpace) -> None:
    again = EmbeddingSpace.read(json.loads(json.dumps(space.write())))
    directions = np.random.default_rng(2).normal(3, 1, (5, WIDTH))
    assert again.distances(again.directions(directions)) == pytest.approx(
        space.distances(space.directions(directions)), abs=1e-4
    )
    assert (again.threshold, again.temperature) == (space.threshold, space.temperature)


def test_a_take_of_the_very_sequence_outweighs_the_network(space: EmbeddingSpace) -> None:
    embedding = np.random.default_rng(3).normal(3, 1, (1, WIDTH))
    own = Prototypes.of({2: embedding}, space)
    thought = probabilities([60, 20, 1, 10, 9])
    [said] = personalise(thought, space.directions(embedding), own, space)
    assert said.sum() == pytest.approx(1)
    assert said.argmax() == 2
    untaught = [0, 1, 3, 4]
    cosines = space.directions(embedding)[0] @ moved_centroids(own, space)[untaught].T
    expected = thought[0, untaught] * np.exp(cosines / space.temperature)
    assert said[untaught] / said[untaught].sum() == pytest.approx(expected / expected.sum())


def test_signs_without_a_take_are_where_this_person_makes_signs(space: EmbeddingSpace) -> None:
    manner = np.eye(WIDTH)[3]
    own = Prototypes(np.array([0, 1]), space.centroids[:2] + manner)
    assert moved_centroids(own, space) == pytest.approx(normalise(space.centroids + manner))


def test_a_sign_wins_where_its_cosine_exceeds_the_others_by_the_threshold_and_the_networks_doubts() -> None:
    axes = np.eye(WIDTH)
    space = EmbeddingSpace(np.zeros(WIDTH), axes, axes[:2], np.zeros(0), threshold=-0.2, temperature=0.05)
    own = Prototypes(np.array([1]), axes[1:2])  # as the centroid is: the other sign stays where it was
    doubt = space.temperature * np.log(8)
    for more, winner in ((space.threshold + doubt - 0.01, 0), (space.threshold + doubt + 0.01, 1)):
        direction = np.zeros((1, WIDTH))
        direction[0, :2] = 0.5, 0.5 + more
        assert personalise(probabilities([8, 1]), direction, own, space).argmax() == winner


def test_several_takes_make_one_prototype(space: EmbeddingSpace) -> None:
    takes = np.random.default_rng(4).normal(3, 1, (3, WIDTH))
    own = Prototypes.of({4: takes, 0: takes[:1]}, space)
    assert own.signs.tolist() == [0, 4]
    assert own.directions[1] == pytest.approx(normalise(space.directions(takes).mean(0)))


def test_without_takes_nothing_changes(space: EmbeddingSpace) -> None:
    thought = probabilities([3, 1, 1, 2, 1], [1, 1, 9, 1, 0])
    said = personalise(thought, space.directions(np.ones((2, WIDTH))), Prototypes.of({}, space), space)
    assert said == pytest.approx(thought)
