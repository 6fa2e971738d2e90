SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint AS bytes
FROM pg_inherits
WHERE inhparent IN ('goverse.replies'::regclass, 'goverse.router_replies'::regclass)
