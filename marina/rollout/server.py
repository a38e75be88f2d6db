"""A server from its first check to its end: the database says what it starts with, the supervisor does the rest."""

from collections.abc import Sequence

from marina.releases.declarations import Declaration, Declared
from marina.rollout import archive_lookup
from marina.rollout.restore import choose_start_versions
from marina.serving import leftovers
from marina.serving.preflight import StartError, check_addresses, check_exposure, check_ports, only_one
from marina.serving.run_dir import private_run_dir
from marina.serving.supervisor import Supervisor, WhenReady
from marina.settings import Settings

PORTS_FREE_S = 10.0  # what a dead run left may take a moment to let go


def serve(settings: Settings, archives: Sequence[Declared], when_ready: WhenReady = lambda _: None) -> None:
    """Serve until asked to stop.

    Parameters
    ----------
    archives
        Declared in place of whatever was declared before; none: that continues, see `marina.rollout.restore`.

    Raises
    ------
    StartError, DeclarationError, DatabaseError, MissingProgramError
        When the server cannot start.
    """
    with only_one(settings):
        check_addresses(settings)
        check_exposure(settings)
        check_ports(settings, PORTS_FREE_S if leftovers.clear(settings) else 0.0)
        declaration = Declaration(settings.state_dir / "declared", archive_lookup.trust(settings))
        chosen = choose_start_versions(settings, declaration, archives)
        try:
            with private_run_dir() as run_dir:
                Supervisor(settings, declaration, run_dir, chosen.declared, chosen.upgraded).run(when_ready)
        except OSError as error:  # while it serves none gets here
            raise StartError(f"The server cannot start: {error}") from error
