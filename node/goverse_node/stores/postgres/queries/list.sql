SELECT id, version FROM goverse.objects
WHERE namespace = $1 AND type = $2 AND id > $3::bytea AND id >= $4::bytea AND ($5::bytea IS NULL OR id < $5::bytea) AND state IS NOT NULL
ORDER BY id LIMIT $6
