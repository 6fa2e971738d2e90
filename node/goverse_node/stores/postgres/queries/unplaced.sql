SELECT kind, id, namespace, type FROM goverse.unplaced JOIN goverse.kinds ON number = kind LIMIT 1000
