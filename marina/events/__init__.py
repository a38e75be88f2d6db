"""What happened: predictions, labels and counts, and what should happen: declarations and rollouts. One database."""
