SELECT hash, namespace, type, id
FROM goverse.objects JOIN goverse.kinds ON number = kind
WHERE hash BETWEEN $1 AND $2 AND state IS NOT NULL AND ($3::bigint IS NULL OR (hash, kind, id) > ($3, $4, $5))
ORDER BY hash, kind, id LIMIT $6
