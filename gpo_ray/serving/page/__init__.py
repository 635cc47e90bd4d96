"""The page at ``/``, on which visitors register groups and see predictions."""
