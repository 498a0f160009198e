"""What the room list tables should be, told from the homeserver's own tables alone.

The second opinion of the test suite: it shares no code and no SQL with the extension, and is slow and simple
where the extension is fast. Two questions can be asked:

* `check`: is every row right, as far as today's tables can tell? For databases of any size and any past.
* `Watcher`: was this one transaction carried over rightly? Knows the tables before and after, so it can tell
  every column exactly. For small databases and step-by-step tests.
"""

from oracle.check import check, count_rows
from oracle.finding import Finding
from oracle.watcher import Watcher

__all__ = ["Finding", "Watcher", "check", "count_rows"]
