"""A synthetic homeserver: thousands of rooms with a past, in seconds.

Fills the homeserver's own tables only, one transaction a chapter of the rooms' lives, in a homeserver's order
of statements; with the triggers attached the room list tables follow by themselves. The same seed gives the
same rooms.
"""

from generator.load import generate
from generator.world import World

__all__ = ["World", "generate"]
