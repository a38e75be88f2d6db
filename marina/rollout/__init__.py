"""How a version goes live: the controller, the state machine, the judge, shadow traffic and reports."""
