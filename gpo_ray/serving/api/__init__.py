"""The HTTP API of the service under /v1."""
