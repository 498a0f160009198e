"""Transactions of a homeserver, replayed on databases that differ only in who keeps the room list tables."""
