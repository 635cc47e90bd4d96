"""Groups and API keys of the service, in a database."""
