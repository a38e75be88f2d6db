"""The gates a canary passes: each weighs the evidence for and against one kind of harm.

A gate is a few functions of evidence that give log e-values (rollout/gates/bets.py): `harm` bets that the canary is
worse than the limit allows, `fine` that it is not worse than what is accepted; in an A/B test `behind` bets that it is
worse than stable by however little, `ahead` that it is better.
"""
