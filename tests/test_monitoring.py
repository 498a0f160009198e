"""What examples/ ships for Prometheus and Grafana, run with Debian's Prometheus and exporters."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from harness import processes
from harness.cluster import Cluster
from harness.environment import PROJECT, cache_directory
from harness.folders import make_folder
from synthetic.database import SCHEMA, create_homeserver, run_psql

EXAMPLES = PROJECT / "examples"
PROMETHEUS = EXAMPLES / "prometheus"
DASHBOARD = json.loads((EXAMPLES / "grafana/sliding-sync.json").read_text())
JOBS = {"postgres_exporter": 9187, "sql_exporter": 9237, "node_exporter": 9100}  # and Debian's ports
COUNTERS = {"sliding_sync_lost_records_total", "sliding_sync_table_changes_total"}
MONITOR = "monitor"

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]

_missing = [name for name in ("promtool", *(f"prometheus-{job.replace('_', '-')}" for job in JOBS)) if not shutil.which(name)]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(_missing), reason="scripts/install-packages monitoring"),
]


@dataclass
class Watch:
    """A Prometheus, its exporters, and the database that they look at."""

    cluster: Cluster
    database: str
    folder: Path
    ports: dict[str, int]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def get(self, job: str, path: str, **query: str) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"http://127.0.0.1:{self.ports[job]}{path}", params=query, timeout=10)

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = self.get("prometheus", "/api/v1/query", query=expression).json()
        assert answer["status"] == "success", (expression, answer)
        return answer["data"]["result"]

    def alerts(self) -> dict[tuple[str, str], set[str]]:
        """The exporters that see it, by name and state."""
        jobs = {f"127.0.0.1:{port}": job for job, port in self.ports.items()}
        found: dict[tuple[str, str], set[str]] = {}
        for alert in self.get("prometheus", "/api/v1/alerts").json()["data"]["alerts"]:
            labels = alert["labels"]
            seen = found.setdefault((labels["alertname"], alert["state"]), set())
            seen.add(jobs[labels["instance"]] if "instance" in labels else "")
        return found

    def spawn(self, name: str, *command: object, **variables: str) -> None:
        log = self.folder / f"{name}.log"
        self.running[name] = processes.spawn(command, self.folder, log, signal.SIGTERM, GOMAXPROCS="2", **variables)

    def write_textfile(self) -> str:
        """As a timer or cron does it."""
        where = ("-h", "127.0.0.1", "-p", self.cluster.port, "-U", MONITOR, "-d", self.database)
        command = [PROMETHEUS / "sliding-sync-textfile", *where]
        environment = processes.server_environment(PATH=f"{self.cluster.bin}:/usr/bin:/bin")
        words = [str(word) for word in command]
        text = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout
        new = self.folder / "textfile/sliding_sync.prom.new"
        new.write_text(text)
        new.rename(new.with_suffix(""))
        return text


@pytest.fixture(scope="module")
def watch(cluster: Cluster) -> Iterator[Watch]:
    """All three exporters at once; the database has an unfinished backfill."""
    cluster.create_role(MONITOR)
    cluster.execute("GRANT pg_monitor TO monitor")
    database = create_homeserver(cluster, "watched")
    rooms = "SELECT create_room('!r' || i, '@anna:hs.test', name => 'Tea') FROM generate_series(1, 20) i;"
    # one value that the homeserver wrote otherwise
    other = "SET homeserver.writes_tables = on; SELECT tombstone('!r1', '@anna:hs.test', '!next'); SELECT state_reset('!r1', 'm.room.tombstone');"
    run_psql(cluster, database, rooms + other, search_path="operations, homeserver")
    cluster.execute("CALL sliding_sync.begin_backfill()", database)
    cluster.execute("ANALYZE", database)
    folder = make_folder("watch")
    (folder / "textfile").mkdir()
    watch = Watch(cluster, database, folder, {job: processes.free_port() for job in (*JOBS, "prometheus")})
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(lambda: [processes.end(process, signal.SIGTERM, 20) for process in watch.running.values()])
        stack.callback(lambda: print(*(f"== {log.name}\n{log.read_text()[-3000:]}" for log in folder.glob("*.log")), sep="\n"))
        start(watch)
        until(lambda: {row["metric"]["job"] for row in watch.query("sliding_sync_ready")} == set(JOBS))
        yield watch
    cluster.drop_database(database)


def start(watch: Watch) -> None:
    """Each with the file that is shipped; only the places, ports and times are those of the test."""
    folder, ports = watch.folder, watch.ports
    dsn = f"postgres://{MONITOR}@127.0.0.1:{watch.cluster.port}/{watch.database}?sslmode=disable"

    collector = (PROMETHEUS / "sql_exporter.yml").read_text()
    (shipped,) = yaml.safe_load(collector)["jobs"][0]["connections"]
    (folder / "sql_exporter.yml").write_text(collector.replace(shipped, dsn).replace("interval: 1m", "interval: 1s"))
    shutil.copy(PROMETHEUS / "postgres_exporter.yml", folder)
    shutil.copy(PROMETHEUS / "rules.yml", folder)
    configuration = (PROMETHEUS / "prometheus.yml").read_text()
    for job, port in JOBS.items():
        assert f"localhost:{port}" in configuration
        configuration = configuration.replace(f"localhost:{port}", f"127.0.0.1:{ports[job]}")
    often = "global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}\n"
    (folder / "prometheus.yml").write_text(often + configuration)
    watch.write_textfile()
    for path in (folder, *folder.rglob("*")):
        processes.give_to_server(path)

    def listen(job: str) -> str:
        return f"--web.listen-address=127.0.0.1:{ports[job]}"

    watch.spawn("sql_exporter", "/usr/bin/prometheus-sql-exporter", "--config.file=sql_exporter.yml", listen("sql_exporter"))
    watch.spawn(
        "postgres_exporter",
        *("/usr/bin/prometheus-postgres-exporter", "--extend.query-path=postgres_exporter.yml", listen("postgres_exporter")),
        DATA_SOURCE_NAME=dsn,
    )
    watch.spawn(
        "node_exporter",
        *("/usr/bin/prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile"),
        *(f"--collector.textfile.directory={folder / 'textfile'}", listen("node_exporter")),
    )
    watch.spawn("prometheus", "/usr/bin/prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", listen("prometheus"))


def until(condition: Callable[[], object], seconds: float = 90) -> None:
    """Waits for what becomes true with the next scrapes."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except requests.ConnectionError:
            pass
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.3)


def of_the_view(watch: Watch) -> Series:
    rows = watch.cluster.execute("SELECT name, labels, value FROM sliding_sync.metrics", watch.database, MONITOR)
    return {(name, frozenset(labels.items())): value for name, labels, value in rows}


def of_the_exporter(watch: Watch, job: str) -> Series:
    """With the labels of the view only: an exporter says more, as which server it has asked."""
    known = {key for _, labels in of_the_view(watch) for key, _ in labels}
    found: Series = {}
    for row in watch.query(f'{{__name__=~"sliding_sync_.+", job="{job}"}}'):
        labels = frozenset((key, value) for key, value in row["metric"].items() if key in known)
        key = (row["metric"]["__name__"], labels)
        assert key not in found, key
        found[key] = float(row["value"][1])
    return found


def documented() -> set[str]:
    """The names in the table of metrics."""
    (section,) = re.findall(r"^## Metrics\n(.*?)^## ", (PROJECT / "docs/diagnostics.md").read_text(), re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`(sliding_sync_[a-z_]+)`", section)) - {"sliding_sync_version_info"}


@pytest.mark.parametrize("job", JOBS)
def test_an_exporter_says_what_the_view_says(watch: Watch, job: str) -> None:
    def same() -> bool:
        watch.write_textfile()
        expected, found = of_the_view(watch), of_the_exporter(watch, job)
        return found.keys() == expected.keys() and all(found[key] == pytest.approx(expected[key]) for key in expected)

    try:
        until(same)
    except AssertionError:
        expected, found = of_the_view(watch), of_the_exporter(watch, job)
        assert found == expected
    assert any(name == "sliding_sync_run_sessions" for name, _ in of_the_exporter(watch, job))


def test_help_and_type(watch: Watch) -> None:
    """The same words from all, and for each name of the documentation."""
    helps: dict[str, dict[str, str]] = {}
    for job in JOBS:
        text = watch.get(job, "/metrics").text
        helps[job] = dict(re.findall(r"^# HELP (?:sql_)?(sliding_sync_\w+) (.+)$", text, re.MULTILINE))
        types = dict(re.findall(r"^# TYPE (?:sql_)?(sliding_sync_\w+) (\w+)$", text, re.MULTILINE))
        assert types.keys() == helps[job].keys()
        counters = {name for name, kind in types.items() if kind == "counter"}
        assert set(types.values()) <= {"counter", "gauge"}
        assert counters == (set() if job == "sql_exporter" else COUNTERS)
    names = {name for name, _ in of_the_view(watch)}
    helps["postgres_exporter"]["sliding_sync_info"] = helps["postgres_exporter"].pop("sliding_sync_version_info")
    assert helps["sql_exporter"] == helps["postgres_exporter"] == helps["node_exporter"]
    assert helps["sql_exporter"].keys() == names


def test_no_name_is_forgotten() -> None:
    """Also those that have no row here: each file describes all names of the documentation with one text."""
    queries = yaml.safe_load((PROMETHEUS / "sql_exporter.yml").read_text())["jobs"][0]["queries"]
    sql_exporter = {query["name"]: query["help"] for query in queries}
    assert all(query["allow_zero_rows"] for query in queries)  # or else it repeats rows that are gone
    postgres_exporter = {
        f"{key}_{column}": what["description"]
        for key, query in yaml.safe_load((PROMETHEUS / "postgres_exporter.yml").read_text()).items()
        for metric in query["metrics"]
        for column, what in metric.items()
        if what["usage"] != "LABEL"
    }
    postgres_exporter["sliding_sync_info"] = postgres_exporter.pop("sliding_sync_version_info")
    script = (PROMETHEUS / "sliding-sync-textfile").read_text()
    textfile = {name: text.replace("''", "'") for name, text in re.findall(r"^    \('(\w+)', '\w+', '(.+)'\),?$", script, re.MULTILINE)}
    assert sql_exporter == postgres_exporter == textfile
    assert sql_exporter.keys() == documented()


def test_rules() -> None:
    """promtool reads the rules and the configuration, and plays the time that alerts take."""
    for command in (
        ["promtool", "check", "config", "prometheus.yml"],
        ["promtool", "test", "rules", str(PROJECT / "tests/monitoring/rules_test.yml")],
    ):
        done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    rules = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"][0]["rules"]
    tests = (PROJECT / "tests/monitoring/rules_test.yml").read_text()
    assert all(re.search(rf"alertname: {rule['alert']}\n", tests) for rule in rules)


def test_the_text_is_what_prometheus_reads(watch: Watch) -> None:
    """Its linter dislikes one name: a gauge that ends with total."""
    done = subprocess.run(["promtool", "check", "metrics"], input=watch.write_textfile(), capture_output=True, text=True, timeout=60)
    problems = [line for line in done.stderr.splitlines() if not line.startswith("sliding_sync_run_items_total ")]
    assert problems == [], done


def test_every_panel_shows_something(watch: Watch) -> None:
    values = {"instance": ".*", "schema": ".*", "__rate_interval": "1m"}
    assert {f"${variable['name']}" for variable in DASHBOARD["templating"]["list"]} >= {"$instance", "$schema", "$datasource"}
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            expression = re.sub(r"\$(\w+)", lambda found: values[found[1]], target["expr"])
            if "_timestamp_seconds" in expression:
                watch.query(expression)  # nothing has been completed yet
            else:
                until(lambda: watch.query(expression))


def test_dashboard() -> None:
    """Panels have places of their own, and names that the documentation has."""
    names = set(re.findall(r"\bsliding_sync_\w+", " ".join(t["expr"] for p in DASHBOARD["panels"] for t in p["targets"])))
    assert names == documented()
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_grafana_has_a_place_for_everything(tmp_path: Path) -> None:
    """Grafana itself is in no registry that is asked here; its authors' types of a dashboard are."""
    python, reader = cache_directory() / "grafana/bin/python", PROJECT / "tests/monitoring/read_dashboard.py"

    def problems(text: str) -> list[str]:
        (tmp_path / "dashboard.json").write_text(text)
        return subprocess.check_output([python, reader, tmp_path / "dashboard.json"], text=True, timeout=60).splitlines()

    text = json.dumps(DASHBOARD)
    assert problems(text) == []
    for right, wrong in (('"colorMode"', '"colourMode"'), ('"type": "stat"', '"type": "number"'), ('"expr"', '"query_text"')):
        assert right in text and problems(text.replace(right, wrong))


def test_alerts(watch: Watch) -> None:
    """They see what happens in a real database, through each exporter. After this the extension is gone."""
    database, everybody = watch.database, set(JOBS)

    def until_seen(name: str, state: str = "pending", by: set[str] = everybody) -> None:
        until(lambda: watch.write_textfile() and watch.alerts().get((name, state)) == by)

    until_seen("SlidingSyncNotReady")  # it is not backfilled
    until_seen("SlidingSyncBackfillStopped")
    watch.cluster.execute("CALL sliding_sync.backfill()", database)
    until(lambda: watch.write_textfile() and watch.alerts() == {})

    watch.cluster.execute(f'ALTER TABLE {SCHEMA}.events DISABLE TRIGGER "A_sliding_sync"', database)
    until_seen("SlidingSyncTriggersNotFiring", "firing")
    until_seen("SlidingSyncNotReady")
    until_seen("SlidingSyncFindings")

    watch.cluster.execute("SELECT sliding_sync.detach()", database)
    until_seen("SlidingSyncNotAttached")
    until_seen("SlidingSyncUnknown", by={""})
    assert watch.query("sliding_sync_info") and not watch.query("sliding_sync_ready")

    # this one repeats itself, and says so
    watch.cluster.execute("DROP EXTENSION sliding_sync", database)
    until(lambda: watch.alerts().get(("SlidingSyncNumbersAreOld", "pending")) == {"sql_exporter"})
    assert watch.query('{__name__=~"sliding_sync_.+", job="sql_exporter"}')


def test_no_service_runs() -> None:
    """Installing them has started and enabled nothing."""
    for name in ("prometheus", *(f"prometheus-{job.replace('_', '-')}" for job in JOBS)):
        assert not list(Path("/etc").glob(f"rc[2345].d/S*{name}"))
        assert not Path(f"/etc/systemd/system/multi-user.target.wants/{name}.service").exists()
