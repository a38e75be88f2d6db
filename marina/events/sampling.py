"""Which answers are logged, where not all are: workers choose by the request's id, so it is known afterwards."""

import hashlib


def chosen(request_id: str, share: float) -> bool:
    """Return whether a request's answer is among the share that workers log (handlers/spool.py)."""
    number = int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=6).digest(), "big")
    return share >= 1 or number / 2**48 < share
