UPDATE goverse.feed SET generation = gen_random_uuid(), seq_offset = seq_offset + $1
WHERE seq_offset = $2 AND generation = $3::text::uuid RETURNING generation::text
