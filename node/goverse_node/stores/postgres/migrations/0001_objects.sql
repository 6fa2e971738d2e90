-- Objects, the authority over shards, the change feed, and what commits them: one function, one round trip for a batch.

CREATE TABLE goverse.feed (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    generation uuid NOT NULL DEFAULT gen_random_uuid(),
    seq_offset bigint NOT NULL DEFAULT 0,
    trimmed_seq bigint NOT NULL DEFAULT 0
);
INSERT INTO goverse.feed DEFAULT VALUES;
COMMENT ON TABLE goverse.feed IS
    'Positions are seq_offset + (transaction id << 20 | ordinal). A database that was restored into another server, whose '
    'transaction ids begin lower, gets a larger offset and another generation.';

CREATE TABLE goverse.owners (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

CREATE TABLE goverse.shards (
    shard integer PRIMARY KEY,
    epoch bigint NOT NULL,
    owner integer NOT NULL REFERENCES goverse.owners
);

CREATE TABLE goverse.writers (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner integer NOT NULL REFERENCES goverse.owners,
    session integer NOT NULL DEFAULT 1,
    batch bigint NOT NULL DEFAULT 0,
    base bigint NOT NULL DEFAULT 0,
    refused jsonb,
    began timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE goverse.writers IS
    'One row per process that writes: its latest batch. Whoever lost its connection in a commit asks here whether that was '
    'carried out, and raises session, so that a batch still on its way can never be carried out later.';

CREATE TABLE goverse.objects (
    namespace text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    id bytea NOT NULL,
    version bigint NOT NULL,
    state bytea,
    state_version integer NOT NULL,
    commit_seq bigint NOT NULL,
    modified_ms bigint NOT NULL,
    PRIMARY KEY (namespace, type, id)
);
COMMENT ON COLUMN goverse.objects.id IS 'UTF-8; not text, which cannot hold every character that an id can';
COMMENT ON COLUMN goverse.objects.state IS 'JSON in UTF-8; null for a tombstone, which stays so that versions never go back';

CREATE TABLE goverse.changes (
    day integer NOT NULL,
    commit_seq bigint NOT NULL,
    namespace text NOT NULL,
    type text NOT NULL,
    id bytea NOT NULL,
    version bigint NOT NULL,
    state bytea,
    at_ms bigint NOT NULL,
    PRIMARY KEY (commit_seq, day)
) PARTITION BY RANGE (day);
CREATE TABLE goverse.changes_rest PARTITION OF goverse.changes DEFAULT;

CREATE TABLE goverse.replies (
    day integer NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    id bytea NOT NULL,
    idempotency_key bytea NOT NULL,
    fingerprint bytea NOT NULL,
    reply bytea NOT NULL,
    expires_ms bigint NOT NULL,
    commit_seq bigint NOT NULL,
    PRIMARY KEY (namespace, type, id, idempotency_key, day)
) PARTITION BY RANGE (day);
CREATE TABLE goverse.replies_rest PARTITION OF goverse.replies DEFAULT;

CREATE FUNCTION goverse.today() RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT floor(extract(epoch FROM now()) / 86400)::integer
$$;

CREATE FUNCTION goverse.horizon() RETURNS bigint LANGUAGE sql STABLE AS $$
    -- below this position nothing will be added any more
    SELECT seq_offset + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 20) FROM goverse.feed
$$;

CREATE FUNCTION goverse.owner_number(p_name text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    found_number integer;
BEGIN
    SELECT number INTO found_number FROM goverse.owners WHERE name = p_name;
    IF found_number IS NULL THEN
        INSERT INTO goverse.owners (name) VALUES (p_name) ON CONFLICT (name) DO NOTHING;
        SELECT number INTO STRICT found_number FROM goverse.owners WHERE name = p_name;
    END IF;
    RETURN found_number;
END
$$;

CREATE FUNCTION goverse.claim(p_owner text, p_shards integer[]) RETURNS TABLE (claimed integer, raised bigint)
LANGUAGE plpgsql AS $$
-- Raises epochs. The lock of each present owner is taken first: a commit holds its own owner's lock while it looks at
-- epochs, so those under way end before they are raised, and later ones see the new ones.
DECLARE
    me integer := goverse.owner_number(p_owner);
    before integer[];
    after_lock integer[];
    present integer;
BEGIN
    LOOP
        SELECT array_agg(DISTINCT owner ORDER BY owner) INTO before FROM goverse.shards WHERE shard = ANY (p_shards);
        FOREACH present IN ARRAY coalesce(before, '{}') LOOP
            PERFORM pg_advisory_xact_lock(71023, present);
        END LOOP;
        SELECT array_agg(DISTINCT owner ORDER BY owner) INTO after_lock FROM goverse.shards WHERE shard = ANY (p_shards);
        EXIT WHEN coalesce(after_lock, '{}') <@ coalesce(before, '{}');
    END LOOP;
    RETURN QUERY
        INSERT INTO goverse.shards AS present_shard (shard, epoch, owner)
        SELECT wanted, 1, me FROM unnest(p_shards) AS wanted ORDER BY wanted
        ON CONFLICT (shard) DO UPDATE SET epoch = present_shard.epoch + 1, owner = me
        RETURNING present_shard.shard, present_shard.epoch;
END
$$;

CREATE FUNCTION goverse.begin_batch(p_writer bigint, p_session integer, p_batch bigint, p_refused jsonb) RETURNS bigint
LANGUAGE plpgsql AS $$
-- Notes the batch and returns its first position. Fails for a batch of an earlier session: it was given up.
DECLARE
    first_seq bigint;
BEGIN
    SELECT seq_offset + (pg_current_xact_id()::text::bigint << 20) INTO STRICT first_seq FROM goverse.feed;
    UPDATE goverse.writers SET batch = p_batch, base = first_seq, refused = p_refused
    WHERE number = p_writer AND session = p_session;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'batch % of writer % was given up', p_batch, p_writer USING ERRCODE = 'GV001';
    END IF;
    RETURN first_seq;
END
$$;

CREATE FUNCTION goverse.commit_batch(
    p_writer bigint, p_owner integer, p_session integer, p_batch bigint, p_now_ms bigint,
    -- the distinct claims that the records were made under
    p_shards integer[], p_epochs bigint[],
    -- per object that is written: what it must be, what it becomes
    o_namespace text[], o_type text[], o_id bytea[], o_expected bigint[], o_version bigint[], o_state bytea[],
    o_state_version integer[], o_at_ms bigint[], o_ordinal integer[],
    -- per object that is not written: what it must be
    k_namespace text[], k_type text[], k_id bytea[], k_expected bigint[],
    -- the changes, in order
    c_namespace text[], c_type text[], c_id bytea[], c_version bigint[], c_state bytea[], c_at_ms bigint[],
    c_ordinal integer[],
    -- the replies to keep; fresh ones need not be looked for
    r_namespace text[], r_type text[], r_id bytea[], r_key bytea[], r_fingerprint bytea[], r_reply bytea[],
    r_expires_ms bigint[], r_ordinal integer[], r_fresh boolean[]
) RETURNS bigint LANGUAGE plpgsql AS $$
-- Commits a batch in which nothing conflicts, and returns its first position; else raises GV002 and leaves nothing.
DECLARE
    first_seq bigint;
    written bigint;
    added bigint;
    this_day integer := goverse.today();
BEGIN
    PERFORM pg_advisory_xact_lock_shared(71023, p_owner);
    IF EXISTS (
        SELECT FROM unnest(p_shards, p_epochs) AS made (shard, epoch)
        LEFT JOIN goverse.shards AS present ON present.shard = made.shard
        WHERE present.epoch IS DISTINCT FROM made.epoch
    ) THEN
        RAISE EXCEPTION 'fenced' USING ERRCODE = 'GV002';
    END IF;
    first_seq := goverse.begin_batch(p_writer, p_session, p_batch, NULL);

    UPDATE goverse.objects AS present
    SET version = o.version, state = o.state, state_version = o.state_version,
        commit_seq = first_seq + o.ordinal, modified_ms = o.at_ms
    FROM unnest(o_namespace, o_type, o_id, o_expected, o_version, o_state, o_state_version, o_at_ms, o_ordinal)
        AS o (namespace, type, id, expected, version, state, state_version, at_ms, ordinal)
    WHERE o.expected > 0 AND present.namespace = o.namespace AND present.type = o.type AND present.id = o.id
        AND present.version = o.expected;
    GET DIAGNOSTICS written = ROW_COUNT;

    INSERT INTO goverse.objects (namespace, type, id, version, state, state_version, commit_seq, modified_ms)
    SELECT o.namespace, o.type, o.id, o.version, o.state, o.state_version, first_seq + o.ordinal, o.at_ms
    FROM unnest(o_namespace, o_type, o_id, o_expected, o_version, o_state, o_state_version, o_at_ms, o_ordinal)
        AS o (namespace, type, id, expected, version, state, state_version, at_ms, ordinal)
    WHERE o.expected = 0
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF written + added <> cardinality(o_id) THEN
        RAISE EXCEPTION 'a version is not the expected one' USING ERRCODE = 'GV002';
    END IF;

    IF cardinality(k_id) > 0 AND EXISTS (
        SELECT FROM unnest(k_namespace, k_type, k_id, k_expected) AS k (namespace, type, id, expected)
        LEFT JOIN goverse.objects AS present USING (namespace, type, id)
        WHERE coalesce(present.version, 0) <> k.expected
    ) THEN
        RAISE EXCEPTION 'a version is not the expected one' USING ERRCODE = 'GV002';
    END IF;

    INSERT INTO goverse.changes (day, commit_seq, namespace, type, id, version, state, at_ms)
    SELECT this_day, first_seq + c.ordinal, c.namespace, c.type, c.id, c.version, c.state, c.at_ms
    FROM unnest(c_namespace, c_type, c_id, c_version, c_state, c_at_ms, c_ordinal)
        AS c (namespace, type, id, version, state, at_ms, ordinal);

    IF cardinality(r_id) > 0 THEN
        IF false = ANY (r_fresh) AND EXISTS (
            SELECT FROM unnest(r_namespace, r_type, r_id, r_key, r_fresh) AS r (namespace, type, id, idempotency_key, fresh)
            JOIN goverse.replies AS kept USING (namespace, type, id, idempotency_key)
            WHERE NOT r.fresh AND kept.expires_ms > p_now_ms
        ) THEN
            RAISE EXCEPTION 'a reply is kept under the key' USING ERRCODE = 'GV002';
        END IF;
        INSERT INTO goverse.replies
            (day, namespace, type, id, idempotency_key, fingerprint, reply, expires_ms, commit_seq)
        SELECT this_day, r.namespace, r.type, r.id, r.key, r.fingerprint, r.reply, r.expires_ms, first_seq + r.ordinal
        FROM unnest(r_namespace, r_type, r_id, r_key, r_fingerprint, r_reply, r_expires_ms, r_ordinal)
            AS r (namespace, type, id, key, fingerprint, reply, expires_ms, ordinal)
        ON CONFLICT (namespace, type, id, idempotency_key, day) DO UPDATE
        SET fingerprint = excluded.fingerprint, reply = excluded.reply, expires_ms = excluded.expires_ms,
            commit_seq = excluded.commit_seq
        WHERE replies.expires_ms <= p_now_ms;
        GET DIAGNOSTICS added = ROW_COUNT;
        IF added <> cardinality(r_id) THEN
            RAISE EXCEPTION 'a reply is kept under the key' USING ERRCODE = 'GV002';
        END IF;
    END IF;
    RETURN first_seq;
END
$$;

CREATE FUNCTION goverse.commit_each(
    p_writer bigint, p_owner integer, p_session integer, p_batch bigint, p_now_ms bigint,
    r_namespace text[], r_type text[], r_id bytea[], r_expected bigint[], r_version bigint[], r_state bytea[],
    r_state_version integer[], r_at_ms bigint[], r_shard integer[], r_epoch bigint[],
    r_key bytea[], r_fingerprint bytea[], r_reply bytea[], r_expires_ms bigint[]
) RETURNS jsonb LANGUAGE plpgsql AS $$
-- Commits what can be committed of a batch, record by record; returns the first position and why the others were not:
-- {"base": ..., "refused": {"<ordinal>": ["fenced" | "version" | "key", detail]}}.
DECLARE
    first_seq bigint;
    why_not jsonb := '{}';
    this_day integer := goverse.today();
    present_version bigint;
    present_epoch bigint;
    at integer;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(71023, p_owner);
    SELECT goverse.begin_batch(p_writer, p_session, p_batch, NULL) INTO first_seq;
    FOR at IN 1 .. cardinality(r_id) LOOP
        IF r_epoch[at] > 0 THEN
            SELECT epoch INTO present_epoch FROM goverse.shards WHERE shard = r_shard[at];
            IF present_epoch IS DISTINCT FROM r_epoch[at] THEN
                why_not := why_not || jsonb_build_object(at - 1, jsonb_build_array('fenced', coalesce(present_epoch, 0)));
                CONTINUE;
            END IF;
        END IF;
        CONTINUE WHEN r_epoch[at] > 0 AND r_version[at] = r_expected[at] AND r_key[at] IS NULL;
        SELECT version INTO present_version FROM goverse.objects
        WHERE namespace = r_namespace[at] AND type = r_type[at] AND id = r_id[at] FOR UPDATE;
        present_version := coalesce(present_version, 0);
        IF present_version <> r_expected[at] OR r_version[at] NOT IN (r_expected[at], r_expected[at] + 1) THEN
            why_not := why_not || jsonb_build_object(at - 1, jsonb_build_array('version', present_version));
            CONTINUE;
        END IF;
        IF r_key[at] IS NOT NULL AND EXISTS (
            SELECT FROM goverse.replies WHERE namespace = r_namespace[at] AND type = r_type[at] AND id = r_id[at]
                AND idempotency_key = r_key[at] AND expires_ms > p_now_ms
        ) THEN
            why_not := why_not || jsonb_build_object(at - 1, jsonb_build_array('key', 0));
            CONTINUE;
        END IF;
        IF r_version[at] > r_expected[at] THEN
            INSERT INTO goverse.objects AS present
                (namespace, type, id, version, state, state_version, commit_seq, modified_ms)
            VALUES (r_namespace[at], r_type[at], r_id[at], r_version[at], r_state[at], r_state_version[at],
                first_seq + at - 1, r_at_ms[at])
            ON CONFLICT (namespace, type, id) DO UPDATE
            SET version = excluded.version, state = excluded.state, state_version = excluded.state_version,
                commit_seq = excluded.commit_seq, modified_ms = excluded.modified_ms
            WHERE present.version = excluded.version - 1;
            IF NOT FOUND THEN  -- created by somebody else in this moment
                why_not := why_not || jsonb_build_object(at - 1, jsonb_build_array('version', -1));
                CONTINUE;
            END IF;
            INSERT INTO goverse.changes (day, commit_seq, namespace, type, id, version, state, at_ms)
            VALUES (this_day, first_seq + at - 1, r_namespace[at], r_type[at], r_id[at], r_version[at], r_state[at],
                r_at_ms[at]);
        END IF;
        IF r_key[at] IS NOT NULL THEN
            INSERT INTO goverse.replies
                (day, namespace, type, id, idempotency_key, fingerprint, reply, expires_ms, commit_seq)
            VALUES (this_day, r_namespace[at], r_type[at], r_id[at], r_key[at], r_fingerprint[at], r_reply[at],
                r_expires_ms[at], first_seq + at - 1)
            ON CONFLICT (namespace, type, id, idempotency_key, day) DO UPDATE
            SET fingerprint = excluded.fingerprint, reply = excluded.reply, expires_ms = excluded.expires_ms,
                commit_seq = excluded.commit_seq;
        END IF;
    END LOOP;
    UPDATE goverse.writers SET refused = why_not WHERE number = p_writer;
    RETURN jsonb_build_object('base', first_seq, 'refused', why_not);
END
$$;

CREATE FUNCTION goverse.prepare_days(p_days integer) RETURNS integer LANGUAGE plpgsql AS $$
-- Makes the partitions of today and the next days; returns how many were missing.
DECLARE
    made integer := 0;
    day integer;
    parent text;
BEGIN
    PERFORM pg_advisory_xact_lock(71024, 0);
    FOREACH parent IN ARRAY ARRAY['changes', 'replies'] LOOP
        FOR day IN goverse.today() .. goverse.today() + p_days LOOP
            IF to_regclass(format('goverse.%I', parent || '_' || day)) IS NULL THEN
                EXECUTE format('CREATE TABLE goverse.%I PARTITION OF goverse.%I FOR VALUES FROM (%s) TO (%s)',
                    parent || '_' || day, parent, day, day + 1);
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;

CREATE FUNCTION goverse.expired_days(p_changes_days integer, p_replies_days integer)
RETURNS TABLE (partition text, day integer, bytes bigint) LANGUAGE sql STABLE AS $$
    -- The partitions that hold nothing that must be kept any more.
    SELECT child.relname::text, substring(child.relname FROM '_(\d+)$')::integer, pg_total_relation_size(child.oid)
    FROM pg_inherits
    JOIN pg_class AS child ON child.oid = inhrelid
    JOIN pg_class AS parent ON parent.oid = inhparent
    JOIN pg_namespace AS home ON home.oid = parent.relnamespace
    WHERE home.nspname = 'goverse' AND child.relname ~ '_\d+$'
        AND substring(child.relname FROM '_(\d+)$')::integer
            < goverse.today() - CASE parent.relname WHEN 'changes' THEN p_changes_days ELSE p_replies_days END
    ORDER BY 1
$$;

CREATE FUNCTION goverse.drop_day(p_partition text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_partition !~ '^(changes|replies)_\d+$' THEN
        RAISE EXCEPTION '% is no partition of ours', p_partition;
    END IF;
    IF p_partition LIKE 'changes%' THEN
        EXECUTE format(
            'UPDATE goverse.feed SET trimmed_seq = greatest(trimmed_seq, (SELECT coalesce(max(commit_seq), 0) FROM goverse.%I))',
            p_partition);
    END IF;
    EXECUTE format('DROP TABLE goverse.%I', p_partition);
END
$$;
