"""Runs a homeserver's own test module, in that homeserver's environment, with our triggers in its databases.

Not imported: its text is given to the homeserver's Python with `-c`; `tests` is the homeserver's package.
Arguments: the module to run, and `attach` or `plain`. The last line printed is JSON.
Nothing of the homeserver is changed: its test databases are clones of one base, which gets the triggers.
"""

from __future__ import annotations

import json
import sys

module, mode = sys.argv[1:]

# Importing this creates the base database, with all of the schema in it.
import tests.unittest  # type: ignore[import-not-found]  # noqa: E402,F401
from tests import utils  # noqa: E402

import psycopg2  # noqa: E402
from twisted.trial import reporter, runner  # noqa: E402

if mode == "attach":
    connection = psycopg2.connect(
        host=utils.POSTGRES_HOST,
        port=utils.POSTGRES_PORT,
        user=utils.POSTGRES_USER,
        dbname=utils.POSTGRES_BASE_DB,
    )
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("CREATE EXTENSION sliding_sync")
    cursor.execute(
        "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'public.events'::regclass"
    )
    attached = cursor.fetchone()[0]
    assert attached > 0, "CREATE EXTENSION found the tables but attached nothing"
    connection.close()  # an open connection would stop the base database from being cloned

trial = runner.TrialRunner(reporter.TextReporter, workingDirectory="_trial")
result = trial.run(runner.TestLoader().loadByName(module))
names = sorted({test.id() for test, _ in [*result.failures, *result.errors]})
summary = {
    "run": result.testsRun,
    "failed": [name.removeprefix(module + ".") for name in names],
    "skipped": len(result.skips),
}
print("\n" + json.dumps(summary))
