SELECT greatest(
    (SELECT coalesce(max(commit_seq), 0) FROM goverse.changes),
    (SELECT coalesce(max(base), 0) FROM goverse.writers)
) AS newest, seq_offset, seq_offset + (pg_current_xact_id()::text::bigint << 20) AS next
FROM goverse.feed
