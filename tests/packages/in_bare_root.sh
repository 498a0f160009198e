#!/bin/bash
# Runs inside a bare Debian 12, as scripts/check-packages starts it: what an administrator does with the packages, from the
# first installation over an upgrade to the removal, with a running cluster and a homeserver that goes on writing.
#
#   /packages   the packages; /older   those of an older version; /test   the homeserver that the tests play on
set -euo pipefail

step() { echo "== $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
equal() { [ "$2" = "$3" ] || fail "$1: expected '$3', got '$2'"; }
sql() { runuser -u postgres -- psql -X -q -A -t -v ON_ERROR_STOP=1 -d "${database:-synapse}" "$@"; }
play() { sql -c "SET search_path = operations, homeserver; SET ROLE synapse; $1" >/dev/null; }
is_gone() { ! dpkg-query -W "$1" 2>/dev/null | grep -q .; }

step "install the older version"
apt-get -qq update
# no compiler, and nothing that autoremove would take
apt-get -q -y install /older/*.deb postgresql-client >/var/log/install 2>&1 || { tail -n 30 /var/log/install; fail "apt-get install"; }
is_gone g++ || fail "a compiler was installed"
equal "what autoremove would take" "$(apt-get -s autoremove | grep -c '^Remv' || true)" 0
[ ! -e /usr/lib/debug/.build-id ] || fail "debug information is in the packages"
older=$(dpkg-query -W -f '${source:Upstream-Version}' sliding-sync)

step "a cluster with a homeserver"
pg_ctlcluster 15 main start
cp /test/sliding_sync_test* /usr/share/postgresql/15/extension/
database=postgres sql -c 'CREATE ROLE synapse LOGIN' -c "CREATE DATABASE synapse OWNER synapse TEMPLATE template0 ENCODING UTF8 LOCALE 'C'"
sql -c 'ALTER SCHEMA public OWNER TO synapse' -c 'CREATE SCHEMA operations AUTHORIZATION synapse' \
    -c 'CREATE EXTENSION sliding_sync_test SCHEMA operations' -c 'GRANT ALL ON SCHEMA operations TO synapse' \
    -c 'GRANT CREATE ON DATABASE synapse TO synapse' -c "SET ROLE synapse; CALL operations.make_homeserver('homeserver', false)"
play "SELECT create_room('!before:hs.test', '@anna:hs.test', name => 'Before')"

step "the quick start"
sql -c 'CREATE EXTENSION sliding_sync'
equal "version" "$(sql -c 'SELECT library_version, extension_version FROM sliding_sync.version()')" "$older|$older"
sql -c 'CALL sliding_sync.backfill()' >/dev/null
equal "ready" "$(sql -c 'SELECT is_ready FROM sliding_sync.ready()')" t
play "SELECT create_room('!r:hs.test', '@anna:hs.test', name => 'Tea'); SELECT rename('!r:hs.test', '@anna:hs.test', 'Coffee')"
equal "rows" "$(sql -c 'SELECT string_agg(room_name, chr(32) ORDER BY room_name) FROM homeserver.sliding_sync_joined_rooms')" "Before Coffee"

step "the program"
runuser -u postgres -- sliding-sync --version | grep -qF "$older" || fail "sliding-sync --version"
runuser -u postgres -- sliding-sync status -d synapse >/dev/null || fail "sliding-sync status"
runuser -u postgres -- sliding-sync verify -d synapse >/dev/null || fail "sliding-sync verify"
runuser -u postgres -- env SAMPLE=1 /usr/libexec/sliding-sync/sliding-sync-check -d synapse || fail "sliding-sync-check"
runuser -u postgres -- /usr/libexec/sliding-sync/sliding-sync-textfile -d synapse | grep -q '^sliding_sync_ready' || fail "metrics"
for file in /lib/systemd/system/sliding-sync-check.{service,timer} /usr/share/man/man1/sliding-sync.1.gz \
    /usr/share/bash-completion/completions/sliding-sync /usr/share/doc/sliding-sync/examples/prometheus/rules.yml \
    /usr/share/doc/sliding-sync/examples/prometheus/postgres_exporter.yml /usr/share/doc/sliding-sync/examples/prometheus/sql_exporter.yml \
    /usr/share/doc/sliding-sync/examples/grafana/sliding-sync.json /usr/share/doc/sliding-sync/SECURITY.md \
    /usr/share/doc/sliding-sync/examples/small-homeserver/homeserver.py; do
    dpkg -L sliding-sync | grep -qx "$file" || fail "the package lacks $file"
done
examples=/usr/share/doc/sliding-sync/examples
for file in /lib/systemd/system/sliding-sync-check.service "$examples/systemd/sliding-sync-check.service" "$examples/cron"; do
    grep -q '/usr/libexec/sliding-sync/sliding-sync-check -d' "$file" || fail "the program that $file starts"
    ! grep -q /usr/local "$file" || fail "/usr/local in $file"
done
# as cron does it: the last line but its first six words
runuser -u postgres -- sh -c "$(tail -n 1 "$examples/cron" | sed -E 's/^([^ ]+ +){6}//')" || fail "the command of $examples/cron"

step "upgrade, while a session is at work"
mkfifo /tmp/session
runuser -u postgres -- psql -X -q -A -t -v ON_ERROR_STOP=1 -d synapse </tmp/session >/tmp/session.out 2>&1 &
session=$!
exec 7>/tmp/session
echo "SET search_path = operations, homeserver; SELECT 'before', send_message('!r:hs.test', '@anna:hs.test');" >&7
until grep -q before /tmp/session.out; do sleep 0.1; done
server=$(head -n 1 /var/lib/postgresql/15/main/postmaster.pid)
apt-get -q -y install /packages/*.deb >/var/log/upgrade 2>&1 || { tail -n 30 /var/log/upgrade; fail "upgrade"; }
newer=$(dpkg-query -W -f '${source:Upstream-Version}' sliding-sync)
[ "$newer" != "$older" ] || fail "both packages are $newer"
equal "the server that runs" "$(head -n 1 /var/lib/postgresql/15/main/postmaster.pid)" "$server"
echo "SELECT rename('!r:hs.test', '@anna:hs.test', 'Cocoa'); SELECT 'after';" >&7
exec 7>&-
wait "$session" || { cat /tmp/session.out; fail "the session that was at work"; }
equal "what is said" "$(sql -c "SELECT remedy FROM sliding_sync.health WHERE code = 'version_differs'")" 'ALTER EXTENSION sliding_sync UPDATE'
play "SELECT send_message('!r:hs.test', '@anna:hs.test')"
sql -c 'ALTER EXTENSION sliding_sync UPDATE'
equal "version" "$(sql -c 'SELECT library_version, extension_version FROM sliding_sync.version()')" "$newer|$newer"
equal "findings" "$(sql -c 'SELECT * FROM sliding_sync.health')" ""
equal "ready" "$(sql -c 'SELECT is_ready FROM sliding_sync.ready()')" t
play "SELECT create_room('!later:hs.test', '@anna:hs.test', name => 'Later')"
equal "rows" "$(sql -c 'SELECT string_agg(room_name, chr(32) ORDER BY room_name) FROM homeserver.sliding_sync_joined_rooms')" "Before Cocoa Later"
# what a snapshot says of the past, this homeserver keeps nowhere
equal "differences" "$(sql -c "SELECT * FROM sliding_sync.verify() WHERE severity <> 'unverifiable'")" ""

step "remove"
sql -c 'DROP EXTENSION sliding_sync'
mapfile -t packages < <(dpkg-query -W -f '${Package}\n' '*sliding-sync*')
dpkg -L "${packages[@]}" | sort -u >/tmp/files
apt-get -q -y purge "${packages[@]}" >/var/log/remove 2>&1 || { tail -n 30 /var/log/remove; fail "purge"; }
while read -r file; do
    [ ! -f "$file" ] || fail "left behind: $file"
done </tmp/files
play "SELECT rename('!r:hs.test', '@anna:hs.test', 'Milk')"
equal "rooms" "$(sql -c 'SELECT count(*) FROM homeserver.rooms')" 3
grep -E 'PANIC|terminated by signal' /var/log/postgresql/*.log && fail "the server crashed"
pg_ctlcluster 15 main stop
echo "$older installed, upgraded to $newer, removed"
