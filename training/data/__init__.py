"""Where training data comes from, whether it is sound, how it is split, and which data it was."""
