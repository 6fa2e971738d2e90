-- The selected changes of some batches; for a batch without any, one row that says how far it goes.
SELECT coalesce(base + selected.ordinal, last) AS commit_seq, selected.*
FROM (
    SELECT * FROM goverse.changes
    WHERE base > $1::bigint - (1 << 20) AND last > $1 AND base < goverse.horizon()
    ORDER BY base LIMIT $2
) AS batch
LEFT JOIN LATERAL (
    SELECT namespace, type, entry.*
    FROM unnest(kind, id, version, state, at_ms, ordinal, state_version, generation, previous_seq, anchor_seq, cause)
    AS entry (kind, id, version, state, at_ms, ordinal, state_version, generation, previous_seq, anchor_seq, cause)
    JOIN goverse.kinds ON kinds.number = entry.kind
    WHERE base + entry.ordinal > $1 AND ($3::text IS NULL OR namespace = $3)
        AND ($4::text[] IS NULL OR type = ANY ($4)) AND ($5::bytea[] IS NULL OR entry.id = ANY ($5))
) AS selected ON true
ORDER BY 1 LIMIT $2
