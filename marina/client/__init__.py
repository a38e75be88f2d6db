"""The Python client: it needs httpx and nothing else of Marina. README.md beside this file shows it at work."""

from marina.client.answers import Answer, Event, Fault, Features, MarketPrediction, Prediction, Receipt
from marina.client.async_client import AsyncClient
from marina.client.client import Client
from marina.client.errors import (
    ArgumentError,
    BusyError,
    DeadlineError,
    Error,
    InvalidError,
    RefusedError,
    ServerError,
    UnreachableError,
)

__all__ = [
    "Answer",
    "ArgumentError",
    "AsyncClient",
    "BusyError",
    "Client",
    "DeadlineError",
    "Error",
    "Event",
    "Fault",
    "Features",
    "InvalidError",
    "MarketPrediction",
    "Prediction",
    "Receipt",
    "RefusedError",
    "ServerError",
    "UnreachableError",
]
