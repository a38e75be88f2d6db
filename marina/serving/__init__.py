"""How versions are served: the supervisor, TorchServe, the gateway, and the reconciler of what should run."""
