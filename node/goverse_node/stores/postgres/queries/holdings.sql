SELECT shard, epoch, name FROM goverse.shards JOIN goverse.owners ON number = owner
