-- every shard has a named owner and a positive epoch
SELECT 'shard ' || shard || ' has epoch ' || epoch FROM goverse.shards
LEFT JOIN goverse.owners ON number = owner WHERE epoch < 1 OR name IS NULL LIMIT 5
