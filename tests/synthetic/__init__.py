"""A synthetic homeserver in a private database: its tables, its operations, and clients that write like it does."""
