import pytest

from tests.marina.console import story


@pytest.mark.slow
def test_the_story_in_a_browser() -> None:
    if story.chromium() is None:
        pytest.skip("no Chromium here: sudo apt-get install chromium")
    story.tell()
