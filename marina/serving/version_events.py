"""What can be observed of one version in TorchServe, and what can be done about it."""

from dataclasses import dataclass

from marina.releases.declarations import Declared
from marina.serving.torchserve_client import Status

# Observations.


@dataclass(frozen=True)
class Desired:
    """The version is desired, with the archive that it has."""

    weight: float
    input_share: float
    workers: int = 0


@dataclass(frozen=True)
class NotDesired:
    """The version is no longer desired, or with another archive."""


@dataclass(frozen=True)
class ServerLost:
    """TorchServe is gone, and everything in it."""


@dataclass(frozen=True)
class PollStarted:
    """It is the version's turn; `may_load` says whether there are cores for one more to load."""

    may_load: bool


@dataclass(frozen=True)
class PollEnded:
    """All that the poll led to is done."""


@dataclass(frozen=True)
class ArchiveChecked:
    """The archive is there and as declared; `declared` has where it is now."""

    declared: Declared


@dataclass(frozen=True)
class ArchiveLost:
    """The archive is damaged or gone, and cannot be copied again just now."""

    reason: str


@dataclass(frozen=True)
class Registered:
    """TorchServe took the version; its workers start."""

    log_start: int


@dataclass(frozen=True)
class NotRegistered:
    """TorchServe did not take the version; `no_room` says which disk is full where that is why."""

    reason: str
    no_room: str = ""


@dataclass(frozen=True)
class RefusalSearched:
    """The worker log was read; `reason` is why the workers refuse to load, None where they do not."""

    reason: str | None


@dataclass(frozen=True)
class ExampleAsked:
    """The version's own example was sent; `failure` is the answer if that was one, empty otherwise."""

    failure: str = ""
    example_s: float | None = None


@dataclass(frozen=True)
class PrioritySet:
    """Whether the workers run at the priority they should have."""

    done: bool


@dataclass(frozen=True)
class RouteOpened:
    """Traffic gets through."""


@dataclass(frozen=True)
class WorkersRestarted:
    """TorchServe starts new workers."""


@dataclass(frozen=True)
class Refused:
    """The version is unregistered because it cannot serve."""

    reason: str


@dataclass(frozen=True)
class RequestsTaken:
    """How many requests the workers have taken since TorchServe started."""

    count: float


Observed = (
    Desired
    | NotDesired
    | ServerLost
    | PollStarted
    | PollEnded
    | ArchiveChecked
    | ArchiveLost
    | Registered
    | NotRegistered
    | Status
    | RefusalSearched
    | ExampleAsked
    | PrioritySet
    | RouteOpened
    | WorkersRestarted
    | Refused
    | RequestsTaken
)
"""What `marina.serving.version_state.step` takes into account."""


# Actions. Where a result is named, it is observed before the next action.


@dataclass(frozen=True)
class CheckArchive:
    """Verify the copy of the archive, or make it again: `ArchiveChecked` or `ArchiveLost`."""


@dataclass(frozen=True)
class Register:
    """Register the version and start its workers: `Registered` or `NotRegistered`."""


@dataclass(frozen=True)
class Describe:
    """Ask TorchServe about the version: `Status`."""


@dataclass(frozen=True)
class SearchRefusal:
    """Look in the worker log for the workers' reason not to load: `RefusalSearched`."""

    log_start: int


@dataclass(frozen=True)
class AskExample:
    """Send the archive's own example as a request: `ExampleAsked`."""


@dataclass(frozen=True)
class SetPriority:
    """Let the workers run in the background, or as others do: `PrioritySet`."""

    background: bool
    pids: tuple[int, ...]


@dataclass(frozen=True)
class StartLimit:
    """Limit the requests in flight, unless that is done: at first by how long the example took."""

    example_s: float | None


@dataclass(frozen=True)
class OpenRoute:
    """Let traffic through: `RouteOpened`."""


@dataclass(frozen=True)
class CloseRoute:
    """Let no traffic through."""


@dataclass(frozen=True)
class MarkRefused:
    """Let no traffic through, and answer that the version is refused."""


@dataclass(frozen=True)
class DivideTraffic:
    """Divide the unversioned requests of all models by what is ready now."""


@dataclass(frozen=True)
class Scale:
    """Give the version as many workers as it is to have."""


@dataclass(frozen=True)
class RestartWorkers:
    """Replace the workers: `WorkersRestarted`."""


@dataclass(frozen=True)
class Reject:
    """Unregister a version that cannot serve: `Refused`."""

    reason: str


@dataclass(frozen=True)
class Unregister:
    """Unregister the version."""


@dataclass(frozen=True)
class Forget:
    """Drop everything that is known of the version."""


@dataclass(frozen=True)
class Log:
    """Write a line for the operator."""

    message: str


ServerAction = Register | Describe | SearchRefusal | Scale | RestartWorkers | Reject | Unregister
"""What is done in TorchServe."""

Action = (
    ServerAction
    | CheckArchive
    | AskExample
    | SetPriority
    | StartLimit
    | OpenRoute
    | CloseRoute
    | MarkRefused
    | DivideTraffic
    | Forget
    | Log
)
"""What it asks for."""
