SELECT greatest(
    coalesce((SELECT last FROM goverse.changes ORDER BY base DESC LIMIT 1), 0),
    (SELECT coalesce(max(base), 0) FROM goverse.writers),
    newest_seq
) AS newest, seq_offset, seq_offset + (pg_current_xact_id()::text::bigint << 20) AS next, generation::text,
written_at <> goverse.place_of_feed(feed.xmin) AS restored
FROM goverse.feed
