"""Groups and API keys, in a database."""
