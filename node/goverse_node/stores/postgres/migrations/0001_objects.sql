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

CREATE TABLE goverse.cluster (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    name text NOT NULL,
    shards integer NOT NULL
);
COMMENT ON TABLE goverse.cluster IS
    'Whose database this is, written by the first node. Nodes of two clusters would each serve all shards, and with two counts '
    'one object would belong to two shards, whose epochs know nothing of each other.';

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

CREATE TABLE goverse.kinds (
    number bigint PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL
);
COMMENT ON TABLE goverse.kinds IS
    'What the number stands for that rows have in place of namespace and type: a hash of both, so it is the same everywhere.';

CREATE TABLE goverse.objects (
    kind bigint NOT NULL,
    id bytea NOT NULL,
    version bigint NOT NULL,
    commit_seq bigint NOT NULL,
    modified_ms bigint NOT NULL,
    state_version integer NOT NULL,
    state bytea,
    creation bytea,
    PRIMARY KEY (kind, id)
) WITH (fillfactor = 80);
COMMENT ON COLUMN goverse.objects.id IS 'UTF-8; not text, which cannot hold every character that an id can';
COMMENT ON COLUMN goverse.objects.state IS 'JSON in UTF-8; null for a tombstone, which stays so that versions never go back';
COMMENT ON COLUMN goverse.objects.creation IS
    'Digest of the arguments that the object was created with, empty for none; null where it is unknown';

CREATE TABLE goverse.changes (
    day integer NOT NULL,
    base bigint NOT NULL,
    last bigint NOT NULL,
    kind bigint[] NOT NULL,
    id bytea[] NOT NULL,
    version bigint[] NOT NULL,
    state bytea[] NOT NULL,
    at_ms bigint[] NOT NULL,
    ordinal integer[] NOT NULL,
    PRIMARY KEY (base, day)
) PARTITION BY RANGE (day);
COMMENT ON TABLE goverse.changes IS
    'One row per batch: its changes as columns, each at the position base + ordinal, the last one at last.';
CREATE TABLE goverse.changes_rest PARTITION OF goverse.changes DEFAULT;

CREATE VIEW goverse.each_change AS
    SELECT base + entry.ordinal AS commit_seq, entry.kind, entry.id, entry.version, entry.state, entry.at_ms
    FROM goverse.changes AS batch
    CROSS JOIN LATERAL unnest(batch.kind, batch.id, batch.version, batch.state, batch.at_ms, batch.ordinal)
        AS entry (kind, id, version, state, at_ms, ordinal);

CREATE TABLE goverse.replies (
    day integer NOT NULL,
    kind bigint NOT NULL,
    id bytea NOT NULL,
    idempotency_key bytea NOT NULL,
    fingerprint bytea NOT NULL,
    reply bytea NOT NULL,
    expires_ms bigint NOT NULL,
    commit_seq bigint NOT NULL,
    PRIMARY KEY (kind, id, idempotency_key, day)
) PARTITION BY RANGE (day);
COMMENT ON TABLE goverse.replies IS 'Under keys that callers chose; any of them may come again at any time.';
CREATE TABLE goverse.replies_rest PARTITION OF goverse.replies DEFAULT;

CREATE TABLE goverse.router_replies (
    slot integer NOT NULL,
    router text COLLATE "C" NOT NULL,
    low bigint NOT NULL,
    high bigint NOT NULL,
    base bigint NOT NULL,
    expires_ms bigint NOT NULL,
    number bigint[] NOT NULL,
    ordinal integer[] NOT NULL,
    reply bytea[] NOT NULL
) PARTITION BY LIST (slot);
COMMENT ON TABLE goverse.router_replies IS
    'Under keys that routers made, which are numbered: one row per batch and router. They come again only where an answer was '
    'lost, and not for long, so there are four parts, each for ten minutes, and the one whose turn is next is emptied.';
CREATE TABLE goverse.router_replies_0 PARTITION OF goverse.router_replies FOR VALUES IN (0);
CREATE TABLE goverse.router_replies_1 PARTITION OF goverse.router_replies FOR VALUES IN (1);
CREATE TABLE goverse.router_replies_2 PARTITION OF goverse.router_replies FOR VALUES IN (2);
CREATE TABLE goverse.router_replies_3 PARTITION OF goverse.router_replies FOR VALUES IN (3);
CREATE INDEX router_replies_numbers ON goverse.router_replies (router, high, low);

CREATE TABLE goverse.resent (
    router text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    expires_ms bigint NOT NULL,
    PRIMARY KEY (router, number)
);
COMMENT ON TABLE goverse.resent IS
    'Calls under a router''s key that took effect when they were sent again: should the first sending still come, it must not.';

CREATE FUNCTION goverse.place(p_kind bigint, p_id bytea) RETURNS text LANGUAGE sql STABLE AS $$
    -- an object as people write it
    SELECT coalesce((SELECT namespace || '/' || type FROM goverse.kinds WHERE number = p_kind), 'unknown kind ' || p_kind)
        || '/' || encode(p_id, 'escape')
$$;

CREATE FUNCTION goverse.today() RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT floor(extract(epoch FROM now()) / 86400)::integer
$$;

CREATE FUNCTION goverse.slot(p_later integer) RETURNS integer LANGUAGE sql STABLE AS $$
    -- the part of goverse.router_replies that is written now, or so many turns later
    SELECT (floor(extract(epoch FROM now()) / 600)::bigint + p_later)::integer & 3
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

CREATE FUNCTION goverse.hang_up(p_owner integer) RETURNS void LANGUAGE sql AS $$
    -- Ends the connections on which something of an owner is under way. Only the writer of a batch could end it otherwise, and
    -- one that is cut off between two packets never will: the server would notice after hours.
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 71023 AND objid = p_owner AND granted AND pid <> pg_backend_pid()
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
$$;

CREATE FUNCTION goverse.claim(p_owner text, p_shards integer[]) RETURNS TABLE (claimed integer, raised bigint)
LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
-- Raises epochs. The lock of each present owner is taken first: a commit holds its own owner's lock while it looks at
-- epochs, so those under way end before they are raised, and later ones see the new ones. One that does not end has lost
-- its client in the middle of a request: its connection is ended.
DECLARE
    me integer := goverse.owner_number(p_owner);
    before integer[];
    after_lock integer[];
    present integer;
BEGIN
    LOOP
        SELECT array_agg(DISTINCT owner ORDER BY owner) INTO before FROM goverse.shards WHERE shard = ANY (p_shards);
        FOREACH present IN ARRAY coalesce(before, '{}') LOOP
            BEGIN
                PERFORM pg_advisory_xact_lock(71023, present);
            EXCEPTION WHEN lock_not_available THEN
                PERFORM goverse.hang_up(present);
                PERFORM pg_advisory_xact_lock(71023, present);
            END;
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

CREATE FUNCTION goverse.resolve(p_writer bigint)
RETURNS TABLE (now_session integer, latest_batch bigint, latest_base bigint, latest_refused jsonb)
LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
-- Tells which batch of a writer was carried out last, and gives up the one that is on its way: it waits for one that is
-- under way, and where that does not end ends it.
BEGIN
    RETURN QUERY UPDATE goverse.writers SET session = session + 1 WHERE number = p_writer
        RETURNING session, batch, base, refused;
EXCEPTION WHEN lock_not_available THEN
    PERFORM goverse.hang_up((SELECT owner FROM goverse.writers WHERE number = p_writer));
    RETURN QUERY UPDATE goverse.writers SET session = session + 1 WHERE number = p_writer
        RETURNING session, batch, base, refused;
END
$$;

CREATE FUNCTION goverse.has_router_reply(p_routers text[], p_numbers bigint[]) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM unnest(p_routers, p_numbers) AS wanted (router, number)
        JOIN goverse.router_replies AS kept
            ON kept.router = wanted.router AND kept.high >= wanted.number AND kept.low <= wanted.number
        WHERE wanted.number = ANY (kept.number)
    )
$$;

CREATE FUNCTION goverse.commit_batch(
    p_writer bigint, p_owner integer, p_session integer, p_batch bigint, p_now_ms bigint,
    -- the distinct claims that the records were made under
    p_shards integer[], p_epochs bigint[],
    -- the changes, in order; expected is what the object must be at, and -1 where a later change of the batch makes it
    c_kind bigint[], c_id bytea[], c_expected bigint[], c_version bigint[], c_state bytea[], c_state_version integer[],
    c_at_ms bigint[], c_ordinal integer[], c_creation bytea[], c_objects integer,
    -- per object that is not written: what it must be
    k_kind bigint[], k_id bytea[], k_expected bigint[],
    -- the replies to keep under keys that callers chose
    r_kind bigint[], r_id bytea[], r_key bytea[], r_fingerprint bytea[], r_reply bytea[], r_expires_ms bigint[],
    r_ordinal integer[],
    -- per router: where its replies end among those below, its lowest and highest number
    m_router text[], m_end integer[], m_low bigint[], m_high bigint[], m_expires_ms bigint[],
    m_number bigint[], m_ordinal integer[], m_reply bytea[],
    -- those of them that were sent before
    s_router text[], s_number bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
-- Commits a batch in which nothing conflicts, and returns its first position; else raises GV002 and leaves nothing.
DECLARE
    first_seq bigint;
    written bigint;
    added bigint := 0;
    begins integer := 1;
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

    IF cardinality(c_id) > 0 THEN
        UPDATE goverse.objects AS present
        SET version = c.version, state = c.state, state_version = c.state_version,
            commit_seq = first_seq + c.ordinal, modified_ms = c.at_ms, creation = c.creation
        FROM unnest(c_kind, c_id, c_expected, c_version, c_state, c_state_version, c_at_ms, c_ordinal, c_creation)
            AS c (kind, id, expected, version, state, state_version, at_ms, ordinal, creation)
        WHERE c.expected > 0 AND present.kind = c.kind AND present.id = c.id AND present.version = c.expected;
        GET DIAGNOSTICS written = ROW_COUNT;
        IF 0 = ANY (c_expected) THEN
            INSERT INTO goverse.objects (kind, id, version, state, state_version, commit_seq, modified_ms, creation)
            SELECT c.kind, c.id, c.version, c.state, c.state_version, first_seq + c.ordinal, c.at_ms, c.creation
            FROM unnest(c_kind, c_id, c_expected, c_version, c_state, c_state_version, c_at_ms, c_ordinal, c_creation)
                AS c (kind, id, expected, version, state, state_version, at_ms, ordinal, creation)
            WHERE c.expected = 0
            ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS added = ROW_COUNT;
        END IF;
        IF written + added <> c_objects THEN
            RAISE EXCEPTION 'a version is not the expected one' USING ERRCODE = 'GV002';
        END IF;
        INSERT INTO goverse.changes (day, base, last, kind, id, version, state, at_ms, ordinal)
        VALUES (goverse.today(), first_seq, first_seq + c_ordinal[cardinality(c_ordinal)],
            c_kind, c_id, c_version, c_state, c_at_ms, c_ordinal);
    END IF;

    IF cardinality(k_id) > 0 AND EXISTS (
        SELECT FROM unnest(k_kind, k_id, k_expected) AS k (kind, id, expected)
        LEFT JOIN goverse.objects AS present USING (kind, id)
        WHERE coalesce(present.version, 0) <> k.expected
    ) THEN
        RAISE EXCEPTION 'a version is not the expected one' USING ERRCODE = 'GV002';
    END IF;

    IF cardinality(r_id) > 0 THEN
        IF EXISTS (
            SELECT FROM unnest(r_kind, r_id, r_key) AS r (kind, id, idempotency_key)
            JOIN goverse.replies AS kept USING (kind, id, idempotency_key)
            WHERE kept.expires_ms > p_now_ms
        ) THEN
            RAISE EXCEPTION 'a reply is kept under the key' USING ERRCODE = 'GV002';
        END IF;
        INSERT INTO goverse.replies (day, kind, id, idempotency_key, fingerprint, reply, expires_ms, commit_seq)
        SELECT goverse.today(), r.kind, r.id, r.key, r.fingerprint, r.reply, r.expires_ms, first_seq + r.ordinal
        FROM unnest(r_kind, r_id, r_key, r_fingerprint, r_reply, r_expires_ms, r_ordinal)
            AS r (kind, id, key, fingerprint, reply, expires_ms, ordinal)
        ON CONFLICT (kind, id, idempotency_key, day) DO UPDATE
        SET fingerprint = excluded.fingerprint, reply = excluded.reply, expires_ms = excluded.expires_ms,
            commit_seq = excluded.commit_seq
        WHERE replies.expires_ms <= p_now_ms;
        GET DIAGNOSTICS added = ROW_COUNT;
        IF added <> cardinality(r_id) THEN
            RAISE EXCEPTION 'a reply is kept under the key' USING ERRCODE = 'GV002';
        END IF;
    END IF;

    IF cardinality(m_router) > 0 THEN
        IF EXISTS (SELECT FROM goverse.resent WHERE router = ANY (m_router) AND number = ANY (m_number))
            OR (cardinality(s_number) > 0 AND goverse.has_router_reply(s_router, s_number))
        THEN
            RAISE EXCEPTION 'a reply is kept under the key' USING ERRCODE = 'GV002';
        END IF;
        FOR at IN 1 .. cardinality(m_router) LOOP
            INSERT INTO goverse.router_replies (slot, router, low, high, base, expires_ms, number, ordinal, reply)
            VALUES (goverse.slot(0), m_router[at], m_low[at], m_high[at], first_seq, m_expires_ms[at],
                m_number[begins:m_end[at]], m_ordinal[begins:m_end[at]], m_reply[begins:m_end[at]]);
            begins := m_end[at] + 1;
        END LOOP;
        IF cardinality(s_number) > 0 THEN
            INSERT INTO goverse.resent (router, number, expires_ms)
            SELECT router, number, m_expires_ms[1] FROM unnest(s_router, s_number) AS s (router, number);
        END IF;
    END IF;
    RETURN first_seq;
END
$$;

CREATE FUNCTION goverse.commit_each(
    p_writer bigint, p_owner integer, p_session integer, p_batch bigint, p_now_ms bigint,
    r_kind bigint[], r_id bytea[], r_expected bigint[], r_version bigint[], r_state bytea[],
    r_state_version integer[], r_at_ms bigint[], r_shard integer[], r_epoch bigint[],
    -- a key that a caller chose, or a router's number and whether it was sent before; null where no reply is kept
    r_key bytea[], r_router text[], r_number bigint[], r_resent boolean[],
    r_fingerprint bytea[], r_reply bytea[], r_expires_ms bigint[], r_creation bytea[]
) RETURNS jsonb LANGUAGE plpgsql AS $$
-- Commits what can be committed of a batch, record by record; returns the first position and why the others were not:
-- {"base": ..., "refused": {"<ordinal>": ["fenced" | "version" | "key", detail]}}.
DECLARE
    first_seq bigint;
    why_not jsonb := '{}';
    present_version bigint;
    present_epoch bigint;
    kept boolean;
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
        CONTINUE WHEN r_epoch[at] > 0 AND r_version[at] = r_expected[at] AND r_reply[at] IS NULL;
        SELECT version INTO present_version FROM goverse.objects WHERE kind = r_kind[at] AND id = r_id[at] FOR UPDATE;
        present_version := coalesce(present_version, 0);
        IF present_version <> r_expected[at] OR r_version[at] NOT IN (r_expected[at], r_expected[at] + 1) THEN
            why_not := why_not || jsonb_build_object(at - 1, jsonb_build_array('version', present_version));
            CONTINUE;
        END IF;
        IF r_key[at] IS NOT NULL THEN
            kept := EXISTS (
                SELECT FROM goverse.replies WHERE kind = r_kind[at] AND id = r_id[at]
                    AND idempotency_key = r_key[at] AND expires_ms > p_now_ms
            );
        ELSE
            kept := r_router[at] IS NOT NULL AND (
                EXISTS (SELECT FROM goverse.resent WHERE router = r_router[at] AND number = r_number[at])
                OR goverse.has_router_reply(r_router[at:at], r_number[at:at])
            );
        END IF;
        IF kept THEN
            why_not := why_not || jsonb_build_object(at - 1, jsonb_build_array('key', 0));
            CONTINUE;
        END IF;
        IF r_version[at] > r_expected[at] THEN
            INSERT INTO goverse.objects AS present
                (kind, id, version, state, state_version, commit_seq, modified_ms, creation)
            VALUES (r_kind[at], r_id[at], r_version[at], r_state[at], r_state_version[at], first_seq + at - 1, r_at_ms[at],
                r_creation[at])
            ON CONFLICT (kind, id) DO UPDATE
            SET version = excluded.version, state = excluded.state, state_version = excluded.state_version,
                commit_seq = excluded.commit_seq, modified_ms = excluded.modified_ms, creation = excluded.creation
            WHERE present.version = excluded.version - 1;
            IF NOT FOUND THEN  -- created by somebody else in this moment
                why_not := why_not || jsonb_build_object(at - 1, jsonb_build_array('version', -1));
                CONTINUE;
            END IF;
            INSERT INTO goverse.changes (day, base, last, kind, id, version, state, at_ms, ordinal)
            VALUES (goverse.today(), first_seq + at - 1, first_seq + at - 1, r_kind[at:at], r_id[at:at], r_version[at:at],
                r_state[at:at], r_at_ms[at:at], '{0}');
        END IF;
        IF r_key[at] IS NOT NULL THEN
            INSERT INTO goverse.replies (day, kind, id, idempotency_key, fingerprint, reply, expires_ms, commit_seq)
            VALUES (goverse.today(), r_kind[at], r_id[at], r_key[at], r_fingerprint[at], r_reply[at],
                r_expires_ms[at], first_seq + at - 1)
            ON CONFLICT (kind, id, idempotency_key, day) DO UPDATE
            SET fingerprint = excluded.fingerprint, reply = excluded.reply, expires_ms = excluded.expires_ms,
                commit_seq = excluded.commit_seq;
        ELSIF r_router[at] IS NOT NULL THEN
            INSERT INTO goverse.router_replies (slot, router, low, high, base, expires_ms, number, ordinal, reply)
            VALUES (goverse.slot(0), r_router[at], r_number[at], r_number[at], first_seq + at - 1, r_expires_ms[at],
                r_number[at:at], '{0}', r_reply[at:at]);
            IF r_resent[at] THEN
                INSERT INTO goverse.resent (router, number, expires_ms)
                VALUES (r_router[at], r_number[at], r_expires_ms[at]);
            END IF;
        END IF;
    END LOOP;
    UPDATE goverse.writers SET refused = why_not WHERE number = p_writer;
    RETURN jsonb_build_object('base', first_seq, 'refused', why_not);
END
$$;

-- What changes partitions needs locks that no reader shares, and every commit queues behind whoever waits for one. So it
-- waits for a moment only: beside a dump, which reads all tables for an hour, it fails and is tried again later.

CREATE FUNCTION goverse.prepare_days(p_days integer) RETURNS integer LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
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
                EXECUTE format('CREATE TABLE goverse.%I PARTITION OF goverse.%I FOR VALUES FROM (%s) TO (%s)%s',
                    parent || '_' || day, parent, day, day + 1,
                    -- what fits into a page stays in one row
                    CASE parent WHEN 'changes' THEN ' WITH (toast_tuple_target = 8160)' END);
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;

CREATE FUNCTION goverse.forget_router_replies(p_now_ms bigint) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
-- Empties the part whose turn is next; what it holds is at least twenty minutes old. Not if that turn came while this
-- waited for the lock: then the part holds new replies as well.
DECLARE
    next_part text := 'router_replies_' || goverse.slot(1);
    used boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM goverse.%I)', next_part) INTO used;
    IF used THEN
        EXECUTE format('TRUNCATE goverse.%I', next_part);
        IF floor(extract(epoch FROM clock_timestamp()) / 600) > floor(extract(epoch FROM now()) / 600) THEN
            RAISE EXCEPTION 'the turn of % has come', next_part USING ERRCODE = 'lock_not_available';
        END IF;
    END IF;
    DELETE FROM goverse.resent WHERE expires_ms <= p_now_ms;
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
    WHERE home.nspname = 'goverse' AND parent.relname IN ('changes', 'replies') AND child.relname ~ '_\d+$'
        AND substring(child.relname FROM '_(\d+)$')::integer
            < goverse.today() - CASE parent.relname WHEN 'changes' THEN p_changes_days ELSE p_replies_days END
    ORDER BY 1
$$;

CREATE FUNCTION goverse.drop_day(p_partition text) RETURNS void LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
BEGIN
    IF p_partition !~ '^(changes|replies)_\d+$' THEN
        RAISE EXCEPTION '% is no partition of ours', p_partition;
    END IF;
    IF p_partition LIKE 'changes%' THEN
        EXECUTE format(
            'UPDATE goverse.feed SET trimmed_seq = greatest(trimmed_seq, coalesce((SELECT last FROM goverse.%I ORDER BY base DESC LIMIT 1), 0))',
            p_partition);
    END IF;
    EXECUTE format('DROP TABLE goverse.%I', p_partition);
END
$$;
