INSERT INTO goverse.writers (number, owner) VALUES ($1, goverse.owner_number($2)) RETURNING owner, session
