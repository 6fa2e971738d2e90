-- the first five names that the database already contains
SELECT goverse.place(kind, id) FROM (
    SELECT kind, id FROM loaded_objects JOIN goverse.objects USING (kind, id)
    UNION
    SELECT kind, id FROM loaded_replies JOIN goverse.replies USING (kind, id, idempotency_key)
) AS known
LIMIT 5
