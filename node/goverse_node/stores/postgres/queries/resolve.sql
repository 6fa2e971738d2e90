UPDATE goverse.writers SET session = session + 1 WHERE number = $1 RETURNING session, batch, base, refused
