"""Clients of the service, one for synchronous and one for asynchronous code.

Neither needs Ray; both need httpx (``pip install 'gpo-ray[client]'``).
"""

from gpo_ray.client.calls import AnyAnswer, AnyQuestion, ServiceError
from gpo_ray.client.clients import MAX_ANSWER_BYTES, TIMEOUT, AsyncClient, Client

__all__ = [
    "MAX_ANSWER_BYTES",
    "TIMEOUT",
    "AnyAnswer",
    "AnyQuestion",
    "AsyncClient",
    "Client",
    "ServiceError",
]
