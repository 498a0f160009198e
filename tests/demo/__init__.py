"""A tour for a database administrator: `make demo`."""
