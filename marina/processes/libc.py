"""The C library, for what Python has no name for; every worker needs this, so it is the standard library alone."""

import ctypes

PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 2, 38

libc = ctypes.CDLL(None, use_errno=True)
