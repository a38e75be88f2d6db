"""Which of a model's versions get its unversioned requests, by what is desired and what is ready."""

from collections.abc import Sequence

from marina.serving.version_state import State, Version


def split_traffic(versions: Sequence[Version]) -> list[tuple[str, float]]:
    """Return the versions that share a model's requests, and their weights.

    Parameters
    ----------
    versions
        The model's versions that are desired, the newest first.
    """
    sharing = [version for version in versions if version.declared.weight > 0]
    # The version that has most, of equals the oldest, also answers for those that are not ready; none for it.
    if sharing and max(reversed(sharing), key=lambda version: version.declared.weight).state is State.READY:
        sharing = [version for version in sharing if version.state is State.READY]
    return [(version.declared.version, version.declared.weight) for version in sharing]


def find_stand_ins(versions: Sequence[Version]) -> dict[str, str]:
    """Return, for each version, the one that is asked what it fails to answer; empty for none.

    That is the version that was declared first, which a canary is to follow, once it is ready.
    """
    stable = versions[-1] if versions and versions[-1].state is State.READY else None
    return {
        version.declared.version: stable.declared.version if stable is not None and version is not stable else ""
        for version in versions
    }
