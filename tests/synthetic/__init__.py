"""A synthetic homeserver: its tables, its operations, and clients that write as it does."""
