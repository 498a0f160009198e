"""A homeserver whose users are in few, many and most of its rooms."""
