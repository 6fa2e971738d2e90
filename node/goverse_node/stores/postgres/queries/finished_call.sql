SELECT kept.*, namespace, type
FROM goverse.finished_calls AS kept JOIN goverse.kinds ON number = kept.sender_kind
    JOIN unnest($5::text[], $6::bigint[]) AS most (state, ms)
        ON most.state = kept.state AND kept.finished_ms > (SELECT goverse.now_ms()) - most.ms
WHERE kept.id = $1 AND namespace = $2 AND kept.expires_ms > (SELECT goverse.now_ms())
    AND ($3::bigint IS NULL OR (kept.sender_kind = $3 AND kept.sender_id = $4::bytea))
ORDER BY kept.finished_ms DESC LIMIT 1
