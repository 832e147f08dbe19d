#!/usr/bin/env bash
# Runs a command with GOCLIP_POSTGRES, the address of a PostgreSQL of its own with pgvector, which ends with the command.
#
# usage: scripts/with_postgres.sh BIN COMMAND...      BIN: the directory with initdb and postgres
set -euo pipefail
bin=$(realpath "$1")
shift
dir=$(mktemp -d "${TMPDIR:-/tmp}/goclip-postgres.XXXXXX")
as=()
if ((EUID == 0)); then # PostgreSQL refuses to be root's
  as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  chown 65534:65534 "$dir"
fi
server=
trap '[[ -z $server ]] || { kill "$server"; wait "$server"; } 2>/dev/null; rm -rf "$dir"' EXIT
"${as[@]}" "$bin/initdb" -D "$dir/data" -U goclip -A trust --no-sync >"$dir/initdb.log" 2>&1 || {
  cat "$dir/initdb.log" >&2
  exit 1
}
"${as[@]}" "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c maintenance_work_mem=512MB >"$dir/postgres.log" 2>&1 &
server=$!
export GOCLIP_POSTGRES="postgres:///postgres?host=$dir&user=goclip"
for _ in {1..100}; do
  [[ ! -S $dir/.s.PGSQL.5432 ]] || break
  sleep 0.1
done
"$@"
