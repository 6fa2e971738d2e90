INSERT INTO goverse.kinds (number, namespace, type) VALUES ($1, $2, $3)
ON CONFLICT (number) DO UPDATE SET number = kinds.number RETURNING namespace, type
