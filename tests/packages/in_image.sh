#!/bin/bash
# Runs inside a root that scripts/check-images made from a recipe: does the server find the extension, and does it work?
#
#   in_image.sh MAJOR            the extension is in the server's own folders
#   in_image.sh MAJOR FOLDER     it is in FOLDER only (PostgreSQL 18: extension_control_path)
set -euo pipefail

major=$1 folder=${2:-}
bin=/usr/lib/postgresql/$major/bin
data=/var/lib/postgresql/of-the-test
fail() { echo "FAILED: $*" >&2; exit 1; }
equal() { [ "$2" = "$3" ] || fail "$1: expected '$3', got '$2'"; }
as_server() { runuser -u postgres -- "$@"; }
sql() { as_server "$bin/psql" -h /tmp -X -q -A -t -v ON_ERROR_STOP=1 -d "${database:-synapse}" "$@"; }
play() { sql -c "SET search_path = operations, homeserver; $1" >/dev/null; }

cp /tmp/sliding_sync_test* "/usr/share/postgresql/$major/extension/"
options="-c unix_socket_directories=/tmp -c listen_addresses="
if [ -n "$folder" ]; then
    ! ls "$bin/../lib/sliding_sync.so" "/usr/share/postgresql/$major/extension/sliding_sync.control" 2>/dev/null ||
        fail "it is in the server's folders, too"
    options+=" -c extension_control_path='\$system:$folder/share' -c dynamic_library_path='\$libdir:$folder/lib'"
fi
as_server "$bin/initdb" -D "$data" --auth=trust --encoding=UTF8 --locale=C >/dev/null
as_server "$bin/pg_ctl" -D "$data" -l /tmp/server.log -w -o "$options" start >/dev/null || { cat /tmp/server.log; exit 1; }

for database in synapse second; do
    database=postgres sql -c "CREATE DATABASE $database"
    sql -c 'CREATE SCHEMA operations' -c 'CREATE EXTENSION sliding_sync_test SCHEMA operations' \
        -c "CALL operations.make_homeserver('homeserver', false)" -c 'CREATE EXTENSION sliding_sync'
    play "SELECT create_room('!r:hs.test', '@anna:hs.test', name => 'Tea')"
    equal "rows of $database" "$(sql -c 'SELECT room_name FROM homeserver.sliding_sync_joined_rooms')" Tea
    sql -c 'CALL sliding_sync.backfill()' >/dev/null
    equal "ready" "$(sql -c 'SELECT is_ready FROM sliding_sync.ready()')" t
    equal "findings" "$(sql -c 'SELECT * FROM sliding_sync.health')" ""
done

as_server "$bin/pg_dump" -h /tmp -Fc -f /tmp/dump synapse
database=restored
database=postgres sql -c "CREATE DATABASE $database"
as_server "$bin/pg_restore" -h /tmp -d "$database" --exit-on-error /tmp/dump
play "SELECT rename('!r:hs.test', '@anna:hs.test', 'Coffee')"
equal "rows of a restored database" "$(sql -c 'SELECT room_name FROM homeserver.sliding_sync_joined_rooms')" Coffee
sql -c 'DROP EXTENSION sliding_sync'
play "SELECT rename('!r:hs.test', '@anna:hs.test', 'Milk')"
! grep -E 'PANIC|terminated by signal' /tmp/server.log || fail "the server crashed"
as_server "$bin/pg_ctl" -D "$data" -w -m fast stop >/dev/null
echo "PostgreSQL $major: found, made in two databases, dumped and restored"
