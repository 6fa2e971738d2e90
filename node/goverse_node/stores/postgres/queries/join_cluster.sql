INSERT INTO goverse.cluster (name, shards, base) VALUES ($1, $2, $2)
ON CONFLICT (only_row) DO UPDATE SET only_row = true RETURNING name, shards, base
