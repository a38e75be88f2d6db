"""The gates a canary passes: each weighs the evidence for and against one kind of harm.

A gate (`marina.rollout.judge.gate`) gives log e-values (`marina.rollout.judge.e_values`): `log_e_harm` bets that the
canary is worse than the limit allows, `log_e_fine` that it is not worse than what is accepted; in an A/B test
`log_e_worse` bets that it is worse than stable by however little, `log_e_better` that it is better.
"""

JUDGE_VERSION = "2"
"""Which judge this is; kept with each verdict.

To change anything by which a verdict on any evidence may come out differently, in its outcome or in a finding: raise
this number, add cases of the kind that changes to the golden verdicts (tests/marina/rollout/judge), and record them
again. They fail where a verdict moves and the number does not. Verdicts from before there were numbers name the judge
by a hash of its source.
"""
