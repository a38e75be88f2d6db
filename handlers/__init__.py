"""How a model answers: the code that runs inside TorchServe's workers and travels in every archive."""
