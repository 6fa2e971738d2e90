-- a kept reply is there as a whole, and belongs to a position that was given away
SELECT namespace || '/' || type || '/' || encode(id, 'escape') || ' keeps a damaged reply at ' || commit_seq
FROM goverse.replies
WHERE octet_length(reply) = 0 OR octet_length(fingerprint) = 0 OR expires_ms <= 0 OR commit_seq < 1
    OR commit_seq >= (SELECT greatest(
        (SELECT coalesce(max(base), 0) + (1 << 20) FROM goverse.writers),
        (SELECT coalesce(max(commit_seq), 0) + 1 FROM goverse.changes)
    )) LIMIT 5
