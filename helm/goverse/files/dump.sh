# Dumps the schema of GoVerse, and reads the dump to its end: what cannot be read is no backup, and keeps the old ones.
set -euo pipefail
# libpq reads a password from a file of its own form only.
if [ -e /etc/goverse/postgres-password/password ]; then
    PGPASSWORD=$(</etc/goverse/postgres-password/password)
    export PGPASSWORD
fi
partial=$FOLDER/postgres.$POD_NAME.partial
server=$(psql --no-psqlrc --no-password --tuples-only --no-align --command='SHOW server_version_num' "$DSN")
[[ $(pg_dump --version) =~ PostgreSQL\)\ ([0-9]+) ]]
if [ "$((server / 10000))" -ne "${BASH_REMATCH[1]}" ]; then
    echo "the server is PostgreSQL $((server / 10000)) and pg_dump is of ${BASH_REMATCH[1]}: such a dump may never be" \
        "restored; set images.postgres to the major release of the server" >&2
    exit 1
fi
pg_dump --format=custom --schema=goverse --no-password --file="$partial" --dbname="$DSN"
pg_restore --file=/dev/null "$partial"
