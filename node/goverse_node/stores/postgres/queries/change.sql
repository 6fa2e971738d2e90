SELECT $3::bigint AS commit_seq, entry.*
FROM (
    SELECT * FROM goverse.changes
    WHERE base <= $3::bigint AND base > $3::bigint - (1 << 20)  -- a batch has fewer than 2^20 positions
    ORDER BY base DESC LIMIT 1
) AS batch
CROSS JOIN LATERAL unnest(kind, id, version, state, at_ms, ordinal, state_version, generation, previous_seq, anchor_seq, cause)
    AS entry (kind, id, version, state, at_ms, ordinal, state_version, generation, previous_seq, anchor_seq, cause)
WHERE base + entry.ordinal = $3 AND entry.kind = $1 AND entry.id = $2
