-- as many objects exist as the counts say
SELECT coalesce(namespace || '/' || type, 'unknown kind ' || kind) || ' has ' || coalesce(present.n, 0)
    || ' objects, and ' || coalesce(counted.n, 0) || ' are counted'
FROM (SELECT kind, count(*) AS n FROM goverse.objects WHERE state IS NOT NULL GROUP BY kind) AS present
FULL JOIN (SELECT kind, sum(n) AS n FROM goverse.living GROUP BY kind) AS counted USING (kind)
LEFT JOIN goverse.kinds ON number = kind
WHERE coalesce(present.n, 0) <> coalesce(counted.n, 0) LIMIT 5
