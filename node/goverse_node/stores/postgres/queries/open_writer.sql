INSERT INTO goverse.writers (owner) VALUES (goverse.owner_number($1)) RETURNING number, owner, session
