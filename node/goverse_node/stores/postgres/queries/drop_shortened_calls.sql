-- calls that were to be kept for longer than now: $2 is the limit for each state in $1; calls that ended before the limit had
-- passed at $3 were removed already
DELETE FROM goverse.finished_calls AS gone
USING (
    SELECT found.*
    FROM unnest($1::text[], $2::bigint[]) AS wanted (state, most_ms)
    CROSS JOIN LATERAL (
        SELECT sender_kind, sender_id, id, day
        FROM goverse.finished_calls AS kept
        WHERE kept.state = wanted.state AND kept.finished_ms > $3 - wanted.most_ms
            AND kept.finished_ms <= (SELECT goverse.now_ms()) - wanted.most_ms
            AND kept.expires_ms > kept.finished_ms + wanted.most_ms
        LIMIT 1000
    ) AS found
    LIMIT 1000
) AS found
WHERE gone.sender_kind = found.sender_kind AND gone.sender_id = found.sender_id AND gone.id = found.id AND gone.day = found.day
