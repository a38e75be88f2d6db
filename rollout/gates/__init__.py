"""The gates a canary passes: each weighs the evidence for and against one kind of harm.

A gate is a pair of functions of evidence and bounds, both giving log e-values (rollout/gates/bets.py): `harm` bets that
the canary is worse than the limit allows, `fine` bets that it is not worse than what is accepted.
"""
