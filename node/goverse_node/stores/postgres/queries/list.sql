SELECT id, version FROM goverse.objects
WHERE kind = $1 AND id > $2::bytea AND id >= $3::bytea AND ($4::bytea IS NULL OR id < $4::bytea) AND state IS NOT NULL
ORDER BY id LIMIT $5
