"""The scenario that a real homeserver plays, and how the two writers of the tables are compared."""
