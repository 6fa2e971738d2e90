-- the load is a batch of a writer of its own
WITH position AS (
    UPDATE goverse.feed SET trimmed_seq = seq_offset + (pg_current_xact_id()::text::bigint << 20)
    RETURNING trimmed_seq AS seq
)
INSERT INTO goverse.writers (owner, base) SELECT goverse.owner_number($1), seq FROM position RETURNING base
