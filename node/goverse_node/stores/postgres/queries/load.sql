SELECT wanted.place, present.version, present.state, present.state_version, present.commit_seq, present.modified_ms
FROM unnest($1::text[], $2::text[], $3::bytea[]) WITH ORDINALITY AS wanted (namespace, type, id, place)
JOIN goverse.objects AS present USING (namespace, type, id)
