"""Labels of many requests committed together: a few transactions a second at most, however many are sent.

Each request is answered when all of its labels are committed. Sources take turns, and none has more than half of the
room; so one that floods is refused, and the others hardly notice. After each transaction SQLite belongs to its other
writers, whose routes and reports matter more, for several times as long as it took.
"""

import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from marina.events.labels import Label, Outcome

AT_MOST = 500
"""Labels of one transaction: about 10 ms of work."""

MOST_WAITING = 12_000
"""Labels that wait: about four seconds of them."""

PAUSE_S, LONGEST_PAUSE_S = 0.15, 1.0
REST = 4.0
"""Between two transactions it rests for this multiple of what the last one took, within these bounds."""

Record = Callable[[Sequence[Label]], list[Outcome]]


class FullError(Exception):
    """More labels wait than are taken in a few seconds."""


@dataclass(eq=False)
class _Post:
    """One request's labels: how many of them were taken into a transaction, and the outcomes of those."""

    source: str
    labels: Sequence[Label]
    taken: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    done: Future[list[Outcome]] = field(default_factory=Future)


class LabelQueue:
    """A thread that commits what waits.

    Parameters
    ----------
    record
        Commits labels of any sources in one transaction, and returns the outcome of each.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._posts: dict[str, deque[_Post]] = {}  # by source; whose turn it is comes first
        self._waiting: Counter[str] = Counter()  # labels, by source
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="labels", daemon=True).start()  # what is not answered is sent again

    def put(self, source: str, labels: Sequence[Label]) -> Future[list[Outcome]]:
        """Let labels of one source wait; their outcomes are there when all are committed, an error when some are not.

        Raises
        ------
        FullError
            When there is no room for them. None is kept.
        """
        post = _Post(source, labels)
        post.done.set_running_or_notify_cancel()  # a client that leaves takes nothing back
        with self._changed:
            mine, all_of_them = self._waiting[source] + len(labels), self._waiting.total() + len(labels)
            if mine > MOST_WAITING / 2 or all_of_them > MOST_WAITING:
                raise FullError
            self._waiting[source] = mine
            self._posts.setdefault(source, deque()).append(post)
            self._changed.notify()
        return post.done

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._posts)
                taken = self._take()
            started = time.monotonic()
            try:
                outcomes = iter(self._record([label for _, labels in taken for label in labels]))
            except Exception as error:  # of the database's, or ours: it is for those who wait for an answer
                self._fail([post for post, _ in taken], error)
            else:
                for post, labels in taken:
                    post.outcomes += itertools.islice(outcomes, len(labels))
                    if len(post.outcomes) == len(post.labels):
                        post.done.set_result(post.outcomes)
            rest_s = REST * (time.monotonic() - started)
            time.sleep(min(max(rest_s, PAUSE_S), LONGEST_PAUSE_S))  # what comes meanwhile goes together

    def _take(self) -> list[tuple[_Post, Sequence[Label]]]:
        """Take as much as one transaction holds, as much of one source as of another."""
        taken: list[tuple[_Post, Sequence[Label]]] = []
        share, left = max(1, AT_MOST // len(self._posts)), AT_MOST
        for source in list(self._posts):
            posts, room = self._posts.pop(source), min(share, left)
            left -= room
            while posts and room:
                post = posts[0]
                labels = post.labels[post.taken : post.taken + room]
                taken.append((post, labels))
                post.taken += len(labels)
                room -= len(labels)
                if post.taken == len(post.labels):
                    posts.popleft()
            if posts:
                self._posts[source] = posts
            if not left:
                break
        for post, labels in taken:
            self._leave(post, len(labels))
        return taken

    def _leave(self, post: _Post, labels: int) -> None:
        self._waiting[post.source] -= labels
        if not self._waiting[post.source]:
            del self._waiting[post.source]

    def _fail(self, posts: Sequence[_Post], error: Exception) -> None:
        with self._changed:
            for post in posts:
                if post.taken < len(post.labels):  # the last of its source's that was taken
                    self._posts[post.source].popleft()
                    self._leave(post, len(post.labels) - post.taken)
                    if not self._posts[post.source]:
                        del self._posts[post.source]
        for post in posts:
            post.done.set_exception(error)
