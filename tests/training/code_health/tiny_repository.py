"""A git repository made by a test: every date, author and line is given, so its hashes are the same everywhere."""

import os
import subprocess
from pathlib import Path

DAY_S = 86_400
START_S = 1_577_836_800  # 2020-01-01


class Tiny:
    """A repository, new where there is no folder; days count from 2020-01-01."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.exists():
            folder.mkdir(parents=True)
            self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, day: float = 0.0, author: str = "Ada") -> str:
        when = f"{START_S + int(day * DAY_S)} +0000"
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            **{"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_MERGE_AUTOEDIT": "no"},
            **{"GIT_AUTHOR_NAME": author, "GIT_AUTHOR_EMAIL": f"{author}@example.org", "GIT_AUTHOR_DATE": when},
            **{
                "GIT_COMMITTER_NAME": author,
                "GIT_COMMITTER_EMAIL": f"{author}@example.org",
                "GIT_COMMITTER_DATE": when,
            },
        }
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, files: dict[str, str | None]) -> None:
        """Write files; None removes one."""
        for name, content in files.items():
            path = self.folder / name
            if content is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)

    def commit(self, day: float, files: dict[str, str | None], message: str = "Work", author: str = "Ada") -> str:
        self.write(files)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message, day=day, author=author)
        return self.git("rev-parse", "HEAD")

    def branch(self, name: str, at: str = "HEAD") -> None:
        self.git("checkout", "-q", "-b", name, at)

    def merge(self, day: float, other: str, resolved: dict[str, str | None] | None = None, author: str = "Ada") -> str:
        """Merge into main, with files as a person leaves them where there is more to it than git's own merge."""
        self.git("checkout", "-q", "main")
        strategy = ["-s", "ours"] if resolved is not None else []
        self.git("merge", "-q", "--no-ff", "--no-commit", *strategy, other, day=day, author=author)
        self.write(resolved or {})
        self.git("add", "-A")
        self.git("commit", "-q", "-m", f"Merge {other}", day=day, author=author)
        return self.git("rev-parse", "HEAD")


def seconds(day: float) -> int:
    return START_S + int(day * DAY_S)


def module(*lines: str, before: int = 0) -> str:
    """A Python file with some lines, after a number of assignments."""
    return "".join(f"{line}\n" for line in (*(f"value_{number} = {number}" for number in range(before)), *lines))
