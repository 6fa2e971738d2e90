SELECT greatest(
    coalesce((SELECT last FROM goverse.changes ORDER BY base DESC LIMIT 1), 0),
    (SELECT coalesce(max(base), 0) FROM goverse.writers)
) AS newest, seq_offset, seq_offset + (pg_current_xact_id()::text::bigint << 20) AS next
FROM goverse.feed
