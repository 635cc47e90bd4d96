"""Define the bounds that both the service and the proxies in front of it keep."""

MAX_BODY_BYTES = 16_000_000
"""Most bytes of a request's body that the service can be configured to take (``limits.body_bytes``), and the
proxies pass on."""

REQUESTS_AT_ONCE = 64
"""Most unanswered requests of a caller, unless ``limits.requests_at_once`` says otherwise."""

ROTATION = {"RAY_ROTATION_MAX_BYTES": str(64 << 20), "RAY_ROTATION_BACKUP_COUNT": "4"}
"""Environment variables by which Ray keeps the newest of all its logs only: bytes of a file, and the number
of earlier files beside it. Without the first, what a worker writes to its standard output and error, which is
where the service's log goes, is kept for ever in one file; Serve's own logs would take 3 GB each."""
