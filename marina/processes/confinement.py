"""What model code may do: read libraries and its own archive, write the spool and a folder of its own. No more.

Two parts of the Linux kernel hold it to that, and neither needs a privilege. Landlock (5.13 and newer) lets a process
give up every file but those it names, and signals to every process but its own. A seccomp filter gives up system
calls: those of the network, and those that Landlock does not see, which change files by path or owner, and limits and
priorities of processes. What a process gave up, it and its children never get back. A kernel that has less holds less:
`shortcomings` says what.

A worker confines itself before it loads an archive, so this needs the standard library alone.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from enum import IntFlag
from pathlib import Path
from typing import NamedTuple

from marina.processes.libc import PR_SET_NO_NEW_PRIVS, libc

CAPABILITY_VERSION = 0x20080522
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # one number on every architecture
RULESET_VERSION = 1
PATH_BENEATH = 1
SCOPED_ABI, TRUNCATE_ABI, REFER_ABI, NETWORK_ABI = 6, 3, 2, 4
SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11

# Classic BPF over struct seccomp_data (linux/seccomp.h, linux/bpf_common.h); little-endian words.
LOAD, AND, IF_EQUAL, IF_AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
CALL, ARCHITECTURE, FIRST_ARGUMENT, FIRST_ARGUMENT_HIGH, SECOND_ARGUMENT = 0, 4, 16, 20, 24
X32_CALLS = 0x40000000  # x86-64's second set of numbers; no other architecture has any there
SOCKET_TYPE = 0xF  # without SOCK_NONBLOCK and SOCK_CLOEXEC
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1 << 2  # older kernels would slow the process down for it
SECCOMP_ALLOW, SECCOMP_ERRNO, SECCOMP_KILL = 0x7FFF0000, 0x00050000, 0x80000000


class Instruction(NamedTuple):
    """One instruction of a filter: what, how many to skip if so and if not, with what."""

    code: int
    if_so: int
    if_not: int
    operand: int


ALLOW = Instruction(RETURN, 0, 0, SECCOMP_ALLOW)
REFUSE = Instruction(RETURN, 0, 0, SECCOMP_ERRNO | errno.EACCES)
FORBID = Instruction(RETURN, 0, 0, SECCOMP_ERRNO | errno.EPERM)
ITSELF = (  # the caller's own process is 0 in all 64 bits; its id too would be refused
    Instruction(LOAD, 0, 0, FIRST_ARGUMENT),
    Instruction(IF_EQUAL, 1, 0, 0),
    FORBID,
    Instruction(LOAD, 0, 0, FIRST_ARGUMENT_HIGH),
    Instruction(IF_EQUAL, 1, 0, 0),
    FORBID,
)
LOCAL_SOCKETS = (
    Instruction(LOAD, 0, 0, FIRST_ARGUMENT),
    Instruction(IF_EQUAL, 1, 0, socket.AF_UNIX),
    REFUSE,
)
LOCAL_STREAMS = (  # a datagram goes anywhere without connecting first
    *LOCAL_SOCKETS,
    Instruction(LOAD, 0, 0, SECOND_ARGUMENT),
    Instruction(AND, 0, 0, SOCKET_TYPE),
    Instruction(IF_EQUAL, 1, 0, socket.SOCK_STREAM),
    REFUSE,
)


class ConfinementError(RuntimeError):
    """A kernel that has the means refused to confine the process; the message says which."""


class Right(IntFlag):
    """What Landlock distinguishes (linux/landlock.h)."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14


ALL = Right((1 << 15) - 1)
OF_FILES = Right.EXECUTE | Right.WRITE_FILE | Right.READ_FILE | Right.TRUNCATE
READ = Right.EXECUTE | Right.READ_FILE | Right.READ_DIR
WRITE = ALL & ~Right.MAKE_CHAR & ~Right.MAKE_BLOCK
ADD_FILES = Right.READ_FILE | Right.READ_DIR | Right.WRITE_FILE | Right.MAKE_REG  # no link, no rename, no removal


class Grant(NamedTuple):
    """What is left to a process of one file, or of a folder and all beneath it."""

    path: str | Path
    rights: Right


# What programs need of a system: libraries and their cache, time zones, users' names, the state of processes and
# hardware. Not /etc as a whole, which has secrets, and nothing of /home, /root, /var or /tmp.
SYSTEM = (
    *(Grant(path, READ) for path in ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt", "/nix/store", "/proc", "/sys")),
    *(
        Grant(f"/etc/{name}", READ)
        for name in (
            *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "timezone"),
            *("passwd", "group", "nsswitch.conf", "hosts", "host.conf", "resolv.conf", "OpenCL", "os-release"),
        )
    ),
    *(Grant(f"/dev/{name}", READ | Right.WRITE_FILE) for name in ("null", "zero", "full", "random", "urandom")),
)


def devices() -> list[Grant]:
    """Return what is granted of accelerators: their device files."""
    found = [path for pattern in ("nvidia*", "dri", "kfd", "accel") for path in Path("/dev").glob(pattern)]
    return [Grant(path, READ | Right.WRITE_FILE) for path in found]


class Machine(NamedTuple):
    """Numbers of one architecture (linux/audit.h, asm/unistd.h)."""

    audit: int
    seccomp: int
    socket: int
    connect: int
    unseen: tuple[int, ...]  # changes of files by path or owner: truncate, chmod, chown, utime, xattr and kin
    priorities: tuple[int, ...]  # setpriority, ioprio_set: of processes, groups and users alike
    of_process: tuple[int, ...]  # prlimit64, sched_set: scheduler, param, attr, affinity; the process comes first


IO_URING = (425, 426, 427)  # what is asked through it passes by every filter; one number on every architecture
LATER = (452, 463, 466, 469)  # fchmodat2, setxattrat, removexattrat, file_setattr; likewise
MACHINES = {
    "x86_64": Machine(
        audit=0xC000003E,
        seccomp=317,
        socket=41,
        connect=42,
        unseen=(
            *(76, 90, 91, 92, 93, 94, 260, 268, 132, 235, 261, 280),
            *(188, 189, 190, 197, 198, 199, *LATER),
        ),
        priorities=(141, 251),
        of_process=(302, 144, 142, 314, 203),
    ),
    "aarch64": Machine(
        audit=0xC00000B7,
        seccomp=277,
        socket=198,
        connect=203,
        unseen=(45, 52, 53, 54, 55, 88, 5, 6, 7, 14, 15, 16, *LATER),
        priorities=(140, 30),
        of_process=(261, 119, 118, 274, 122),
    ),
}


def landlock_abi() -> int:
    """Return the version of the kernel's Landlock; 0 where there is none."""
    return max(0, int(libc.syscall(CREATE_RULESET, None, 0, RULESET_VERSION)))


def shortcomings() -> list[str]:
    """Say what this machine cannot hold model code to; nothing where it can do all."""
    said = []
    abi = landlock_abi()
    if not abi:
        said.append("this kernel has no Landlock (5.13): model code may read and write whatever the server's user may")
    elif abi < SCOPED_ABI:
        said.append(
            "this kernel's Landlock is older than 6.12: model code may end other processes of the server's user"
        )
    if platform.machine() not in MACHINES:
        said.append(
            f"no filter of system calls is known for {platform.machine()}: model code may use the network, and change "
            "files' modes and times and other processes' limits"
        )
    return said


def give_up_privileges() -> None:
    """Give up every capability, root's too, and let no program that is started from here gain any (set-user-ID)."""
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise _error("no_new_privs")
    if libc.capset(struct.pack("=Ii", CAPABILITY_VERSION, 0), bytes(24)):
        raise _error("capset")


def give_up_files(grants: Iterable[Grant]) -> None:
    """Give up all files but these, and all other processes; nothing happens where there is no Landlock.

    Raises
    ------
    ConfinementError
        When the kernel refuses.
    """
    abi = landlock_abi()
    if not abi:
        return
    known = ALL
    if abi < TRUNCATE_ABI:
        known &= ~Right.TRUNCATE
    if abi < REFER_ABI:
        known &= ~Right.REFER
    attributes = struct.pack("=QQQ", known, 0, SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS)
    size = 24 if abi >= SCOPED_ABI else 16 if abi >= NETWORK_ABI else 8
    ruleset = int(libc.syscall(CREATE_RULESET, attributes, size, 0))
    if ruleset < 0:
        raise _error("Landlock")
    try:
        for grant in grants:
            _grant(ruleset, grant, known)
        if libc.syscall(RESTRICT_SELF, ruleset, 0):
            raise _error("Landlock")
    finally:
        os.close(ruleset)


def _grant(ruleset: int, grant: Grant, known: Right) -> None:
    try:
        place = os.open(grant.path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not there, or out of reach already: nothing to grant
        return
    try:
        rights = grant.rights & known
        if not os.path.isdir(f"/proc/self/fd/{place}"):
            rights &= OF_FILES
        rule = struct.pack("=Qi", rights, place)
        if libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0):
            raise _error(f"Landlock: {grant.path}")
    finally:
        os.close(place)


def give_up_network() -> None:
    """Give up every socket but those of this machine's file system; `give_up_privileges` comes first."""
    _filter_calls(lambda _: IO_URING, LOCAL_SOCKETS)


def give_up_calls(*, network: bool = False) -> None:
    """Give up sockets that go anywhere, and changes that Landlock does not see; privileges come first.

    Those are changes of files' modes, owners, times and attributes, the caller's own files' too, and of processes'
    limits, priorities, schedulers and cores; what a process sets for itself as number 0, as the C library's
    ``setrlimit`` does, it may.

    Parameters
    ----------
    network
        Keep the sockets after all.
    """

    def refused(machine: Machine) -> Sequence[int]:
        connect = () if network else (machine.connect,)
        return (*connect, *machine.unseen, *machine.priorities, *IO_URING)

    _filter_calls(refused, () if network else LOCAL_STREAMS, lambda machine: machine.of_process)


def _filter_calls(
    refused: Callable[[Machine], Sequence[int]],
    sockets: Sequence[Instruction],
    of_itself: Callable[[Machine], Sequence[int]] = lambda _: (),
) -> None:
    """Let the kernel refuse system calls to this process and its children.

    Parameters
    ----------
    refused, of_itself
        Give the numbers of the calls: those that are refused, and those that are unless they are for the caller.
    sockets
        What a call that makes a socket has to pass.
    """
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return
    program = [
        Instruction(LOAD, 0, 0, ARCHITECTURE),
        Instruction(IF_EQUAL, 1, 0, machine.audit),
        Instruction(RETURN, 0, 0, SECCOMP_KILL),  # calls of another architecture have other numbers
        Instruction(LOAD, 0, 0, CALL),
        Instruction(IF_AT_LEAST, 0, 1, X32_CALLS),
        REFUSE,
    ]
    for number in refused(machine):
        program += [Instruction(IF_EQUAL, 0, 1, number), FORBID]
    for number in of_itself(machine):
        program += [Instruction(IF_EQUAL, 0, len(ITSELF) + 1, number), *ITSELF, ALLOW]
    program += [Instruction(IF_EQUAL, 1, 0, machine.socket), ALLOW, *sockets, ALLOW]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    whole = struct.pack("@HP", len(program), ctypes.addressof(code))
    if libc.syscall(machine.seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, whole):
        raise _error("seccomp")


def _error(what: str) -> ConfinementError:
    number = ctypes.get_errno()
    return ConfinementError(f"{what}: the kernel refuses it ({os.strerror(number)})")
