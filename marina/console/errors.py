"""Why the console refuses: each refusal with its HTTP status, a word for machines, and what to do next."""

from archives.errors import MarinaError


class RefusedError(MarinaError):
    """A request that is not done, and leaves nothing behind.

    Attributes
    ----------
    status, code
        HTTP status, and the word for machines.
    retry_after_s
        When to try again, where that helps; 0 where it does not.
    """

    def __init__(self, status: int, code: str, message: str, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


def unauthorized(message: str = "Sign in, or send the header Authorization: Bearer NAME~SECRET.") -> RefusedError:
    """Return the refusal of someone who is not known."""
    return RefusedError(401, "unauthorized", message)


def forbidden(needed: str, role: str) -> RefusedError:
    """Return the refusal of someone who may not."""
    text = f"This needs the role {needed}, and yours is {role}. An operator adds roles: scripts/console_users.py"
    return RefusedError(403, "role", text)
