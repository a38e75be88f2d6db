"""What is true of an answer, and how good answers are: one implementation for training, releases and monitoring."""
