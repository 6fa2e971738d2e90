SELECT base + entry.ordinal AS commit_seq, namespace, type, entry.id, entry.version, entry.state, entry.at_ms
FROM (
    SELECT * FROM goverse.changes
    WHERE base > $1::bigint - (1 << 20) AND last > $1 AND base < goverse.horizon()  -- a batch has fewer than 2^20 positions
    ORDER BY base LIMIT $2
) AS batch
CROSS JOIN LATERAL unnest(kind, id, version, state, at_ms, ordinal) AS entry (kind, id, version, state, at_ms, ordinal)
JOIN goverse.kinds ON kinds.number = entry.kind
WHERE base + entry.ordinal > $1
ORDER BY 1 LIMIT $2
