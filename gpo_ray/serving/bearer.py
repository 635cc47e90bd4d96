"""Read the API key of a request, in the one way in which the service and the proxies in front of it do."""

from __future__ import annotations

from collections.abc import Sequence

ACCEPTED = "x-gpo-key-accepted"
"""Header by which the application tells a proxy in front of it that it knows the request's key; the proxy
removes it."""
MAX_SECRET_CHARACTERS = 500
"""Most characters of a key's secret."""


def bearer_secret(authorization: Sequence[str]) -> str | None:
    """Return the secret in a request's Authorization headers; None unless there is one, in one header."""
    scheme, _, secret = authorization[0].partition(" ") if len(authorization) == 1 else ("", "", "")
    secret = secret.strip()
    return secret if scheme.lower() == "bearer" and 0 < len(secret) <= MAX_SECRET_CHARACTERS else None
