"""Watches what is served: alerts, their way to people, and what Prometheus is told."""
