-- a kept reply is complete and belongs to a position that was assigned
WITH given AS (
    SELECT greatest(
        (SELECT coalesce(max(base), 0) + (1 << 20) FROM goverse.writers),
        (SELECT coalesce(max(last), 0) + 1 FROM goverse.changes),
        (SELECT newest_seq + 1 FROM goverse.feed)
    ) AS below
)
SELECT goverse.place(kind, id) || ' keeps a damaged reply at ' || commit_seq
FROM (SELECT * FROM goverse.replies UNION ALL SELECT * FROM goverse.brief_replies) AS kept
WHERE octet_length(reply) = 0 OR octet_length(fingerprint) = 0 OR expires_ms <= 0 OR commit_seq < 1
    OR commit_seq >= (SELECT below FROM given)
UNION ALL
SELECT 'router ' || router || ' has a damaged reply at ' || base
FROM goverse.router_replies
WHERE cardinality(number) <> cardinality(reply) OR cardinality(number) <> cardinality(ordinal)
    OR expires_ms <= 0 OR base < 1 OR base >= (SELECT below FROM given)
LIMIT 5
