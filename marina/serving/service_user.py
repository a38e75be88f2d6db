"""Who serves when root starts the server: another user.

Root is needed to install nginx, and for nothing that follows. So the program hands the state folder to another user,
becomes that user, and starts again. What it needs of a folder that is closed to others, such as a Python below
``/root``, is made visible to it alone, in a mount namespace of its own.
"""

import contextlib
import ctypes
import hashlib
import os
import pwd
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from dotenv import dotenv_values

from archives.keys import OWN_KEY
from marina.processes.console import log
from marina.processes.libc import PR_GET_PDEATHSIG, PR_SET_PDEATHSIG, libc
from marina.serving.preflight import StartError, only_one
from marina.settings import ROOT, SETTINGS_FILE, Settings

ACCOUNT = "marina"
NOBODYS_IDS = range(61184, 65520)  # for services as long as they run, never for people (systemd.exec, DynamicUser=)

CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE, MS_NOSUID, MS_NODEV = 1 << 12, 1 << 14, 1 << 18, 1 << 1, 1 << 2


class Account(NamedTuple):
    """A user of this machine, or an unused number."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


SUPERUSER = Account("root", 0, 0, ())


def step_down(settings: Settings) -> None:
    """Start this program again as another user, if it is root's; return if it is not, or has to stay root's.

    Raises
    ------
    StartError
        When the user that is asked for does not exist, or cannot have what it needs.
    """
    if os.geteuid() != 0:
        return
    account = SUPERUSER if settings.user == SUPERUSER.name else choose(settings)
    needed = sorted({Path(place).resolve() for place in _list_needed(settings) if os.path.exists(place)})
    hidden = {
        place: way for place in (*needed, settings.state_dir.resolve()) if (way := _find_closed_folder(account, place))
    }
    if account.uid and (why := _find_obstacle(account, needed, hidden)):
        if settings.user:
            raise StartError(f"The server cannot run as {account.name} (MARINA_USER): {why}.")
        log(f"serving as root, because {why} (MARINA_USER names a user, or root)")
        account = SUPERUSER
    if _is_ours(settings.state_dir, account):
        with only_one(settings):  # what another server works from stays its own
            try:
                hand_over(settings.state_dir, account)
            except PermissionError as error:
                raise StartError(
                    f"{settings.state_dir} cannot be given to {account.name} ({error.strerror}): this root may give "
                    "nothing away. Start the server as the folder's owner, or give it one that is root's "
                    "(MARINA_STATE_DIR, with MARINA_USER=root)."
                ) from error
    if account.uid:
        _uncover(hidden)
        _become(account)


def choose(settings: Settings) -> Account:
    """Choose who serves: the setting's user, else whose this checkout is, else ``marina``, else an unused number.

    Raises
    ------
    StartError
        When there is no such user.
    """
    try:
        owner = ROOT.stat().st_uid
        entry = pwd.getpwuid(owner) if owner and not settings.user else pwd.getpwnam(settings.user or ACCOUNT)
    except KeyError:
        if settings.user:
            raise StartError(
                f"MARINA_USER: this machine has no user {settings.user!r}: name another (useradd --system makes one), "
                "or root."
            ) from None
        number = _find_free_id(settings.state_dir)
        return Account(ACCOUNT, number, number, ())
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, tuple(groups))


def _find_free_id(state_dir: Path) -> int:
    """Choose a user id for a state folder, the same at each start."""
    digest = hashlib.sha256(str(state_dir.resolve()).encode()).digest()
    chosen = int.from_bytes(digest[:4], "big")
    for step in range(len(NOBODYS_IDS)):
        number = NOBODYS_IDS[(chosen + step) % len(NOBODYS_IDS)]
        try:
            pwd.getpwuid(number)
        except KeyError:
            return number
    raise StartError("Every user id from 61184 to 65519 is taken: set MARINA_USER.")


def _is_ours(folder: Path, account: Account) -> bool:
    """Whether a state folder and all in it may be given to a user: it is the default one, or new, or was one before.

    Raises
    ------
    StartError
        When it is not, and not the user's either.
    """
    if folder.resolve() == (ROOT / ".marina").resolve() or not folder.exists() or not any(folder.iterdir()):
        return True
    if any((folder / name).exists() for name in ("lock", "keys", "marina.db")):
        return True
    if folder.stat().st_uid == account.uid:
        return False
    raise StartError(
        f"{folder} is to be {account.name}'s, and holds what Marina did not put there: give it a folder of its own "
        f"(MARINA_STATE_DIR), or give it this one (chown -R {account.uid}:{account.gid} {folder})."
    )


def hand_over(folder: Path, account: Account) -> None:
    """Give a state folder, with all in it, to a user; all but the key that signs archives, which no server needs.

    By descriptors, past links and second names: its owner before may have put some there.
    """
    for _, folders, files, place in os.fwalk(folder):
        os.chown(place, account.uid, account.gid)
        for name in (*folders, *files):
            entry = os.stat(name, dir_fd=place, follow_symlinks=False)
            ours = stat.S_ISDIR(entry.st_mode) or (entry.st_nlink == 1 and name != OWN_KEY)
            if entry.st_uid != account.uid and ours:
                os.chown(name, account.uid, account.gid, dir_fd=place, follow_symlinks=False)


def _list_needed(settings: Settings) -> Iterator[str | Path]:
    """Name the files and folders without which nothing can be served."""
    yield from (sys.prefix, sys.base_prefix)
    for place in sys.path:  # what is installed under a strict mask is closed one by one
        yield from (place, *(_visible(Path(place)) if place else ()))
    yield from (ROOT, *_visible(ROOT), settings.archive_store, *settings.worker_paths)
    places = (
        settings.java_home,
        os.environ.get("JAVA_HOME"),
        settings.signers,
        settings.tls_certificate,
        settings.tls_key,
    )
    yield from (place for place in places if place)
    yield from (one for one in sys.argv[1:] if os.path.exists(one))


def _visible(folder: Path) -> list[Path]:
    """List what is in a folder, without hidden things and settings, which root has read already."""
    found = folder.iterdir() if folder.is_dir() else ()
    return [path for path in found if not path.name.startswith(".") and path.name != SETTINGS_FILE.name]


def _find_obstacle(account: Account, needed: Iterable[Path], hidden: dict[Path, Path]) -> str:
    """Say what keeps a user from serving; nothing when it may. Places behind closed folders need a namespace."""
    for place in needed:
        if not _may(account, place, os.R_OK | os.X_OK if place.is_dir() else os.R_OK):
            return f"{place} is closed to {account.name}"
    if number := _barred(account):
        return f"this system lets no process become {account.name} ({os.strerror(number)})"
    if hidden and (libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)):
        return f"{next(iter(hidden.values()))} is closed to {account.name}, and this system allows no mounts"
    return ""


def _barred(account: Account) -> int:
    """Try in a child whether this process can become a user; return what kept it from that, 0 if nothing did.

    Root of a container may lack the capability, or know of no other user.
    """
    child = os.fork()
    if not child:
        try:
            _take_on(account)
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _take_on(account: Account) -> None:
    os.setgroups(account.groups)
    os.setgid(account.gid)
    os.setuid(account.uid)


def _may(account: Account, place: Path, wanted: int) -> bool:
    """Whether a user has rights (`os.R_OK`, `os.X_OK`) to a file or folder, once the way there is open."""
    found = place.stat()
    if found.st_uid == account.uid:
        bits = found.st_mode >> 6
    elif found.st_gid in (account.gid, *account.groups):
        bits = found.st_mode >> 3
    else:
        bits = found.st_mode
    return bits & wanted == wanted


def _find_closed_folder(account: Account, place: Path) -> Path | None:
    """Return the first folder on the way to a place that a user may not enter."""
    ways = (way for way in reversed(place.parents) if way.exists())
    return next((way for way in ways if account.uid and not _may(account, way, os.X_OK)), None)


def _uncover(hidden: dict[Path, Path]) -> None:
    """Cover closed folders, for this process and its children, and let what is needed of them show through."""
    tops = {place for place in hidden if not hidden.keys() & set(place.parents)}
    with contextlib.ExitStack() as stack:
        held = {place: os.open(place, os.O_PATH) for place in tops}
        for descriptor in held.values():
            stack.callback(os.close, descriptor)
        for cover in sorted(set(hidden.values())):
            _mount("tmpfs", cover, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")
        os.umask(0o022)  # the folders are open to all, until the program that starts now sets its own
        for place in sorted(held):
            place.parent.mkdir(parents=True, exist_ok=True)
            if stat.S_ISDIR(os.fstat(held[place]).st_mode):
                place.mkdir()
            else:
                place.touch()
            _mount(f"/proc/self/fd/{held[place]}", place, None, MS_BIND | MS_REC, None)


def _mount(source: str, target: Path, kind: str | None, flags: int, options: str | None) -> None:
    """Mount, as ``man 2 mount`` has it."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, options)]
    if libc.mount(*words[:3], flags, words[3]):
        raise StartError(
            f"{target} cannot be mounted: {os.strerror(ctypes.get_errno())}. MARINA_USER=root does without."
        )


def _become(account: Account) -> NoReturn:
    """Start this program again as a user, with the settings that root has read and nothing else of root's."""
    read = {name.upper(): value for name, value in dotenv_values(SETTINGS_FILE).items() if value}
    env = {name: value for name, value in os.environ.items() if value and not name.startswith("XDG_")}
    env = {name: value for name, value in read.items() if name.startswith("MARINA_")} | env
    env |= {"MARINA_SETTINGS_FILE": "", "HOME": str(ROOT), "USER": account.name, "LOGNAME": account.name}
    arguments = [os.path.abspath(one) if os.path.exists(one) else one for one in sys.argv]
    tied = ctypes.c_int()
    libc.prctl(PR_GET_PDEATHSIG, ctypes.byref(tied))
    os.chdir(ROOT)
    _take_on(account)
    libc.prctl(PR_SET_PDEATHSIG, tied)  # another user id undoes it
    os.execve(sys.executable, [sys.executable, *arguments], env)
