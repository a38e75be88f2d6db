"""The Python client: one needs httpx and nothing else of Marina."""
