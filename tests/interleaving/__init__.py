"""Two transactions on one room, step by step: sessions that may block, rooms that are all alike, what is done to them."""
