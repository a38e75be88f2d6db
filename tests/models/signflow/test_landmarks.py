import numpy as np

from models.signflow.landmarks import EDGES, LANDMARKS, LEFT_HAND, MIRROR, NAMES, RIGHT_HAND, WIDTH


def test_there_are_75_distinct_landmarks_and_225_values() -> None:
    assert len(set(NAMES)) == LANDMARKS == 75
    assert WIDTH == 225


def test_mirroring_twice_changes_nothing() -> None:
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(LANDMARKS))


def test_mirroring_swaps_the_hands() -> None:
    np.testing.assert_array_equal(MIRROR[LEFT_HAND], np.arange(LANDMARKS)[RIGHT_HAND])


def test_mirroring_maps_the_graph_onto_itself() -> None:
    edges = {frozenset(edge) for edge in EDGES}
    assert {frozenset(int(MIRROR[end]) for end in edge) for edge in edges} == edges


def test_hands_hang_on_the_pose_by_their_wrists() -> None:
    assert (NAMES.index("pose_left_wrist"), NAMES.index("left_hand_wrist")) in EDGES
    assert (NAMES.index("pose_right_wrist"), NAMES.index("right_hand_wrist")) in EDGES
