"""sliding-sync beside a real Synapse, found by its own configuration."""

from __future__ import annotations

import json

from harness.cluster import Cluster
from harness.synapse import ROLE, Synapse
from harness.tool import Tool

VERSION = "1.163.2"
DATABASE = "synapse for the tool"


def test_with_its_own_configuration(cluster: Cluster) -> None:
    cluster.create_role(ROLE)
    cluster.create_database(DATABASE, ROLE)
    with Synapse(VERSION, cluster, DATABASE) as synapse:
        tool = Tool(cluster, "nowhere", "nobody")
        config = ("--synapse-config", str(synapse.directory / "homeserver.yaml"))
        synapse.wait_for_background_updates()
        anna = synapse.register("anna")
        room = anna.create_room(name="Tea")

        # nothing of ours is there
        found = json.loads(tool.run("verify", "--no-extension", "--json", *config).stdout)
        assert {finding["severity"] for finding in found} <= {"unverifiable"}, found
        (status,) = json.loads(tool.run("status", "--no-extension", "--json", *config).stdout)
        assert status["schema_name"] == "public" and status["has_derived_tables"] and not status["extension_version"]
        done = tool.run("verify", *config)
        assert done.returncode == 1 and "is not installed" in done.stderr, done

        cluster.execute("CREATE EXTENSION sliding_sync", DATABASE)
        cluster.execute("GRANT USAGE ON SCHEMA sliding_sync TO synapse", DATABASE)
        cluster.execute("GRANT EXECUTE ON ALL ROUTINES IN SCHEMA sliding_sync TO synapse", DATABASE)
        assert tool.run("ready", *config).returncode == 3
        done = tool.run("backfill", "--json", *config)
        assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["is_finished"], done
        assert tool.run("ready", *config).returncode == 0
        cluster.execute(f"UPDATE sliding_sync_joined_rooms SET room_name = 'Coffee' WHERE room_id = '{room}'", DATABASE)  # type: ignore[arg-type]
        for way in ([], ["--no-extension"]):
            done = tool.run("verify", "--json", "--no-history", *way, *config)
            assert done.returncode == 3, done
            (finding,) = json.loads(done.stdout)
            assert (finding["room_id"], finding["expected"], finding["actual"]) == (room, "Tea", "Coffee")
        assert tool.run("repair", *config).returncode == 0
        assert tool.run("verify", *config).returncode == 0
        assert tool.run("finish", "--preview", *config).returncode == 0
        assert tool.run("preflight", "downgrade", *config).returncode == 0
    cluster.drop_database(DATABASE)
