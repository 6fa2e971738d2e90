-- New positions are higher than those of the dump, and the feed starts after them, in a new generation.
UPDATE goverse.feed SET
    generation = gen_random_uuid(),
    seq_offset = seq_offset + greatest(0, $1::bigint + 1 - (seq_offset + (pg_current_xact_id()::text::bigint << 20)))
