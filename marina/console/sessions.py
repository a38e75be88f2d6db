"""Sessions: a signed cookie says who signed in and when; each form of a page has a signed token of its own.

Neither holds a secret of the person. A form's token is bound to the session and to the address that the form is sent
to, so that one of another session, person or form is refused (OWASP, signed double submission).
"""

import secrets
import time
from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeTimedSerializer

COOKIE = "marina_console"
PATH = "/console"


@dataclass(frozen=True)
class Session:
    """Who signed in, when (seconds since 1970), and what distinguishes this session from others."""

    name: str
    began_at: float
    nonce: str


class Sessions:
    """Writes and reads cookies and the tokens of forms.

    Parameters
    ----------
    key
        Signs both; who has it can be anyone.
    lasts_s
        How long a session lasts.
    """

    def __init__(self, key: str, lasts_s: float) -> None:
        self.lasts_s = lasts_s
        self._cookies = URLSafeTimedSerializer(key, "session")
        self._forms = URLSafeTimedSerializer(key, "form")

    def begin(self, name: str) -> str:
        """Return the cookie of a new session."""
        return str(self._cookies.dumps([name, time.time(), secrets.token_urlsafe(12)]))

    def read(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None where it is forged, too old or none."""
        try:
            name, began_at, nonce = self._cookies.loads(cookie, max_age=int(self.lasts_s))
        except (BadSignature, ValueError, TypeError):
            return None
        return Session(str(name), float(began_at), str(nonce))

    def form_token(self, session: Session, address: str) -> str:
        """Return the token of a form that is sent to an address; no two are alike."""
        return str(self._forms.dumps([session.nonce, address, secrets.token_urlsafe(9)]))

    def check_form(self, session: Session, address: str, token: str) -> str | None:
        """Return what distinguishes a form from all others; None where its token is not of this session and form."""
        try:
            nonce, where, own = self._forms.loads(token, max_age=int(self.lasts_s))
        except (BadSignature, ValueError, TypeError):
            return None
        same = secrets.compare_digest(str(nonce).encode(), session.nonce.encode())
        return str(own) if same and where == address else None
