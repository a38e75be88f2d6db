"""How archives come to serve: the supervisor, TorchServe, the gateway and the fleet."""
