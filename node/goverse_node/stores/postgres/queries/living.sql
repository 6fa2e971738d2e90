SELECT namespace, type, sum(n)::bigint AS n
FROM goverse.living JOIN goverse.kinds ON number = kind
GROUP BY namespace, type HAVING sum(n) <> 0
