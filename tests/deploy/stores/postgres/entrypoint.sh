#!/bin/bash
# Behaves like the entry point of the Docker library's image for the variables that the chart sets: the first start creates
# the database, later starts use it, and arguments that begin with a dash are passed to the server.
set -euo pipefail

[ "${1:0:1}" != - ] || set -- postgres "$@"
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA"
    # shellcheck disable=SC2086 # several arguments in one variable, as there
    initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" --auth=scram-sha-256 ${POSTGRES_INITDB_ARGS:-}
fi
exec "$@"
