"""Random users, rooms and questions about their lists."""
