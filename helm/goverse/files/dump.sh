# Dumps the schema of GoVerse and reads the dump to its end. If it cannot be read, the script fails, and old backups are kept.
set -euo pipefail
# libpq can read a password file only in its own format, so the password is passed in the environment.
if [ -e /etc/goverse/postgres-password/password ]; then
    PGPASSWORD=$(</etc/goverse/postgres-password/password)
    export PGPASSWORD
fi
partial=$FOLDER/postgres.$POD_NAME.partial
server=$(psql --no-psqlrc --no-password --tuples-only --no-align --command='SHOW server_version_num' "$DSN")
[[ $(pg_dump --version) =~ PostgreSQL\)\ ([0-9]+) ]]
if [ "$((server / 10000))" -ne "${BASH_REMATCH[1]}" ]; then
    echo "the server is PostgreSQL $((server / 10000)) but pg_dump is version ${BASH_REMATCH[1]}: the dump might not be" \
        "restorable; set images.postgres to the server's major version" >&2
    exit 1
fi
pg_dump --format=custom --schema=goverse --no-password --file="$partial" --dbname="$DSN"
pg_restore --file=/dev/null "$partial"
