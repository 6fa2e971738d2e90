-- the oldest calls first, of those that ended before $1
DELETE FROM goverse.finished_calls AS gone
USING (
    SELECT found.*
    FROM unnest($2::text[], $10::bigint[]) AS wanted (state, most_ms)
    CROSS JOIN LATERAL (
        SELECT sender_kind, sender_id, id, day, finished_ms
        FROM goverse.finished_calls AS kept
        WHERE kept.state = wanted.state AND kept.finished_ms < $1 AND kept.expires_ms > (SELECT goverse.now_ms())
            AND kept.finished_ms > (SELECT goverse.now_ms()) - wanted.most_ms
            AND ($3::text IS NULL OR kept.sender_kind IN (SELECT number FROM goverse.kinds WHERE namespace = $3))
            AND ($4::text IS NULL OR kept.receiver_kind IN (SELECT number FROM goverse.kinds WHERE type = $4))
            AND ($5::bigint IS NULL OR (kept.sender_kind = $5 AND kept.sender_id = $6::bytea))
            AND ($7::bigint IS NULL OR (kept.receiver_kind = $7 AND kept.receiver_id = $8::bytea))
        ORDER BY kept.finished_ms, kept.id LIMIT $9
    ) AS found
    ORDER BY finished_ms, id LIMIT $9
) AS found
WHERE gone.sender_kind = found.sender_kind AND gone.sender_id = found.sender_id AND gone.id = found.id AND gone.day = found.day
