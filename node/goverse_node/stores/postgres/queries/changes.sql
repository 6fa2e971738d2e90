SELECT base + entry.ordinal AS commit_seq, namespace, type, entry.*
FROM (
    SELECT * FROM goverse.changes
    WHERE base > $1::bigint - (1 << 20) AND last > $1 AND base < goverse.horizon()  -- a batch has fewer than 2^20 positions
    ORDER BY base LIMIT $2
) AS batch
CROSS JOIN LATERAL unnest(kind, id, version, state, at_ms, ordinal, state_version, generation, previous_seq, anchor_seq, cause)
    AS entry (kind, id, version, state, at_ms, ordinal, state_version, generation, previous_seq, anchor_seq, cause)
JOIN goverse.kinds ON kinds.number = entry.kind
WHERE base + entry.ordinal > $1
ORDER BY 1 LIMIT $2
