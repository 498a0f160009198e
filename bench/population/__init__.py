"""A synthetic homeserver at any scale, made by the server itself, set by set.

Unlike tests/generator, which plays one transaction after the other, this writes every table once, without triggers
and indexes, and makes those again at the end: millions of events in minutes.
"""

from population.load import Shape, populate

__all__ = ["Shape", "populate"]
