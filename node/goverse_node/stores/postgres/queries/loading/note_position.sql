-- The load counts as a batch of its own writer. As for every writer, the number is random.
WITH position AS (
    UPDATE goverse.feed SET trimmed_seq = seq_offset + (pg_current_xact_id()::text::bigint << 20)
    RETURNING trimmed_seq AS seq
)
INSERT INTO goverse.writers (number, owner, base)
SELECT ('x' || substr(md5(gen_random_uuid()::text), 1, 15))::bit(60)::bigint, goverse.owner_number($1), seq
FROM position RETURNING base
