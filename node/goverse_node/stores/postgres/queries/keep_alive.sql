UPDATE goverse.writers SET seen = now() WHERE number = $1 AND seen < now() - interval '1 hour'
