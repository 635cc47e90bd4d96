"""Define the bounds that both the service and the proxies in front of it keep."""

MAX_BODY_BYTES = 16_000_000
"""Most bytes of a request's body that the service can be configured to take (``limits.body_bytes``), and the
proxies pass on."""

REQUESTS_AT_ONCE = 64
"""Most unanswered requests of a caller, unless ``limits.requests_at_once`` says otherwise."""
