-- serves: 1
-- Objects, the authority over shards, the change feed, and what commits them: one function, one round trip for a batch.

CREATE TABLE goverse.feed (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    generation uuid NOT NULL DEFAULT gen_random_uuid(),
    seq_offset bigint NOT NULL DEFAULT 0,
    trimmed_seq bigint NOT NULL DEFAULT 0,
    newest_seq bigint NOT NULL DEFAULT 0,
    kept boolean NOT NULL DEFAULT true,
    written_at text NOT NULL DEFAULT ''
);
COMMENT ON TABLE goverse.feed IS
    'Positions are seq_offset + (transaction id << 20 | ordinal). A database that was restored gets another generation, and a '
    'larger offset where transaction ids begin lower.';
COMMENT ON COLUMN goverse.feed.newest_seq IS 'A position that is at least as high as those of the writers that were forgotten';
COMMENT ON COLUMN goverse.feed.kept IS 'False while the change feed is switched off; then commits leave no changes';
COMMENT ON COLUMN goverse.feed.written_at IS
    'The place and the transaction that wrote this row. A restore writes the row by another transaction, so they differ.';

CREATE FUNCTION goverse.place_of_feed(p_transaction xid) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format('%s/%s/%s/%s', (SELECT system_identifier FROM pg_control_system()),
        (SELECT oid FROM pg_database WHERE datname = current_database()), 'goverse.feed'::regclass::oid, p_transaction)
$$;

CREATE FUNCTION goverse.sign_feed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.written_at := goverse.place_of_feed(pg_current_xact_id()::xid);
    RETURN NEW;
END
$$;
INSERT INTO goverse.feed (written_at) VALUES (goverse.place_of_feed(pg_current_xact_id()::xid));
-- Not for inserts: a restore has to keep what the dump says.
CREATE TRIGGER sign BEFORE UPDATE ON goverse.feed FOR EACH ROW EXECUTE FUNCTION goverse.sign_feed();

CREATE TABLE goverse.cluster (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    name text NOT NULL,
    shards integer NOT NULL,
    base integer NOT NULL
);
COMMENT ON TABLE goverse.cluster IS
    'Whose database this is, written by the first node. Nodes of two clusters would each serve all shards, and with two counts '
    'one object would belong to two shards, whose epochs know nothing of each other.';
COMMENT ON COLUMN goverse.cluster.base IS
    'The number of shards that the cluster was created with. Ids of the form shard#N count in it, so it never changes.';

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
    number bigint PRIMARY KEY,
    owner integer NOT NULL REFERENCES goverse.owners,
    session integer NOT NULL DEFAULT 1,
    batch bigint NOT NULL DEFAULT 0,
    base bigint NOT NULL DEFAULT 0,
    refused jsonb,
    seen timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE goverse.writers IS
    'One row per process that writes: its latest batch. A process that lost its connection in a commit asks here if that was '
    'carried out, and raises session, so that a batch still on its way can never be carried out later. The number is drawn at '
    'random: after a restore no other process gets it.';
COMMENT ON COLUMN goverse.writers.seen IS 'Renewed every hour; the rows of processes that ended go after some weeks';

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
    hash bigint NOT NULL,
    version bigint NOT NULL,
    generation bigint NOT NULL,
    commit_seq bigint NOT NULL,
    previous_seq bigint NOT NULL,
    anchor_seq bigint NOT NULL,
    modified_ms bigint NOT NULL,
    state_version integer NOT NULL,
    state bytea,
    creation bytea,
    PRIMARY KEY (kind, id)
) WITH (fillfactor = 80);
CREATE INDEX objects_hash ON goverse.objects (hash);
COMMENT ON COLUMN goverse.objects.hash IS
    'The 64-bit hash that decides the shard, minus 2^63, computed by the node. It never changes, so updates stay in their page.';
COMMENT ON COLUMN goverse.objects.generation IS 'The version with which this life of the object began';
COMMENT ON COLUMN goverse.objects.previous_seq IS
    'The position that the row had before the batch that wrote it. UPDATE can return new values only, until PostgreSQL 18.';
COMMENT ON COLUMN goverse.objects.anchor_seq IS
    'The position of the latest change before the newest one whose version is a multiple of 64; 0 if there is none';
COMMENT ON COLUMN goverse.objects.id IS 'UTF-8; not text, which cannot hold every character that an id can';
COMMENT ON COLUMN goverse.objects.state IS 'JSON in UTF-8; null for a tombstone, which stays so that versions never go back';
COMMENT ON COLUMN goverse.objects.creation IS
    'Digest of the arguments that the object was created with, empty for none; null where it is unknown';

CREATE TABLE goverse.unplaced (
    kind bigint NOT NULL,
    id bytea NOT NULL,
    PRIMARY KEY (kind, id)
);
COMMENT ON TABLE goverse.unplaced IS
    'Objects that a node of an earlier release created, which computes no hash. Theirs is 0 until a newer node fills it in.';

CREATE TABLE goverse.living (
    kind bigint NOT NULL,
    writer bigint NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (kind, writer)
) WITH (fillfactor = 50);
COMMENT ON TABLE goverse.living IS
    'How many objects exist: the sum of n over the writers. Each writer counts in rows of its own what its commits create and '
    'delete, so no two wait for each other. Loads, and writers that were forgotten, count as writer 0.';

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
    state_version integer[] NOT NULL,
    generation bigint[] NOT NULL,
    previous_seq bigint[] NOT NULL,
    anchor_seq bigint[] NOT NULL,
    cause bytea[] NOT NULL,
    PRIMARY KEY (base, day)
) PARTITION BY RANGE (day);
-- Causes are mostly random digits: compressing them takes the server more time than all else that a batch does.
ALTER TABLE goverse.changes ALTER COLUMN cause SET STORAGE EXTERNAL;
COMMENT ON TABLE goverse.changes IS
    'One row per batch: its changes as columns, each at the position base + ordinal, the last one at last. The changes of an '
    'object form a chain: previous_seq is the position of the one before, anchor_seq that of the latest one before whose '
    'version is a multiple of 64, each 0 if there is none.';
CREATE TABLE goverse.changes_rest PARTITION OF goverse.changes DEFAULT;

CREATE VIEW goverse.each_change AS
    SELECT base, last, base + entry.ordinal AS commit_seq, entry.*
    FROM goverse.changes AS batch
    CROSS JOIN LATERAL unnest(batch.kind, batch.id, batch.version, batch.state, batch.at_ms, batch.ordinal,
        batch.state_version, batch.generation, batch.previous_seq, batch.anchor_seq, batch.cause)
        AS entry (kind, id, version, state, at_ms, ordinal, state_version, generation, previous_seq, anchor_seq, cause);

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

CREATE TABLE goverse.brief_replies (
    slot integer NOT NULL,
    kind bigint NOT NULL,
    id bytea NOT NULL,
    idempotency_key bytea NOT NULL,
    fingerprint bytea NOT NULL,
    reply bytea NOT NULL,
    expires_ms bigint NOT NULL,
    commit_seq bigint NOT NULL,
    PRIMARY KEY (kind, id, idempotency_key, slot)
) PARTITION BY LIST (slot);
COMMENT ON TABLE goverse.brief_replies IS
    'Under keys that are derived from a router''s key, for calls between objects. They are needed as briefly as those of '
    'goverse.router_replies, and go in the same way.';
CREATE TABLE goverse.brief_replies_0 PARTITION OF goverse.brief_replies FOR VALUES IN (0);
CREATE TABLE goverse.brief_replies_1 PARTITION OF goverse.brief_replies FOR VALUES IN (1);
CREATE TABLE goverse.brief_replies_2 PARTITION OF goverse.brief_replies FOR VALUES IN (2);
CREATE TABLE goverse.brief_replies_3 PARTITION OF goverse.brief_replies FOR VALUES IN (3);

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

CREATE FUNCTION goverse.now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    -- the time by which kept replies expire; that of a node may be wrong, and nodes share replies
    SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint
$$;

CREATE FUNCTION goverse.slot(p_later integer) RETURNS integer LANGUAGE sql STABLE AS $$
    -- the part of goverse.router_replies and goverse.brief_replies that is written now, or so many turns later
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

CREATE FUNCTION goverse.begin_batch(
    p_writer bigint, p_session integer, p_after bigint, p_batch bigint,
    OUT first_seq bigint, OUT changes_kept boolean
) LANGUAGE plpgsql AS $$
-- Notes the batch; gives its first position, and whether its changes are kept. Fails for a batch of an earlier session, which
-- was given up, and where the latest batch is not the one that the writer knows: the database was restored, or is a standby
-- that lagged behind.
BEGIN
    SELECT seq_offset + (pg_current_xact_id()::text::bigint << 20), kept INTO STRICT first_seq, changes_kept FROM goverse.feed;
    UPDATE goverse.writers SET batch = p_batch, base = first_seq, refused = NULL
    WHERE number = p_writer AND session = p_session AND batch = p_after;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'batch % of writer % was given up', p_batch, p_writer USING ERRCODE = 'GV001';
    END IF;
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
    p_writer bigint, p_owner integer, p_session integer, p_after bigint, p_batch bigint,
    -- the distinct claims that the records were made under
    p_shards integer[], p_epochs bigint[],
    -- the changes, in order; expected is what the object must be at, and -1 where a later change of the batch makes it
    c_kind bigint[], c_id bytea[], c_expected bigint[], c_version bigint[], c_state bytea[], c_state_version integer[],
    c_at_ms bigint[], c_ordinal integer[], c_creation bytea[], c_objects integer,
    -- the hash of each object that is created, else 0; the calls that made the changes
    c_hash bigint[], c_cause bytea[],
    -- only where an object is changed more than once, else empty: the number of each change's object, counted in the order of
    -- their last changes; the place of the object's change before it, and of its latest anchor before it; 0 for none
    c_object integer[], c_before integer[], c_anchor integer[],
    -- per object that is not written: what it must be
    k_kind bigint[], k_id bytea[], k_expected bigint[],
    -- the replies to keep under keys that callers chose; each for so long
    r_kind bigint[], r_id bytea[], r_key bytea[], r_fingerprint bytea[], r_reply bytea[], r_lives_ms bigint[],
    r_ordinal integer[],
    -- those under keys that were derived from a router's
    b_kind bigint[], b_id bytea[], b_key bytea[], b_fingerprint bytea[], b_reply bytea[], b_lives_ms bigint[],
    b_ordinal integer[],
    -- per router: where its replies end among those below, its lowest and highest number
    m_router text[], m_end integer[], m_low bigint[], m_high bigint[], m_lives_ms bigint[],
    m_number bigint[], m_ordinal integer[], m_reply bytea[],
    -- those of them that were sent before
    s_router text[], s_number bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
-- Commits a batch in which nothing conflicts, and returns its first position; else raises GV002 and leaves nothing.
DECLARE
    first_seq bigint;
    written bigint;
    added bigint := 0;
    old_anchors bigint[];
    begins integer := 1;
    begun record;
    prior record;
    now_ms bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(71023, p_owner);
    IF EXISTS (
        SELECT FROM unnest(p_shards, p_epochs) AS made (shard, epoch)
        LEFT JOIN goverse.shards AS present ON present.shard = made.shard
        WHERE present.epoch IS DISTINCT FROM made.epoch OR present.owner <> p_owner
    ) THEN
        RAISE EXCEPTION 'fenced' USING ERRCODE = 'GV002';
    END IF;
    begun := goverse.begin_batch(p_writer, p_session, p_after, p_batch);
    first_seq := begun.first_seq;

    IF cardinality(c_id) > 0 THEN
        IF cardinality(c_anchor) > 0 AND EXISTS (SELECT FROM unnest(c_anchor) AS place WHERE place > 0) THEN
            -- An object gets an anchor inside of the batch. Its changes before that point to the anchor that it has now.
            SELECT array_agg(coalesce(anchor, 0) ORDER BY place) INTO old_anchors FROM (
                SELECT c.place,
                    CASE WHEN present.version & 63 = 0 THEN present.commit_seq ELSE present.anchor_seq END AS anchor
                FROM unnest(c_kind, c_id, c_expected) WITH ORDINALITY AS c (kind, id, expected, place)
                LEFT JOIN goverse.objects AS present
                    ON present.kind = c.kind AND present.id = c.id AND present.version = c.expected
                WHERE c.expected >= 0
            ) AS now;
        END IF;
        -- What the update returns of an object is what its changes point back to. previous_seq is a column because of that.
        WITH changed AS (
            UPDATE goverse.objects AS present
            SET version = c.version, state = c.state, state_version = c.state_version,
                commit_seq = first_seq + c.ordinal, modified_ms = c.at_ms, creation = c.creation,
                previous_seq = present.commit_seq,
                generation = CASE WHEN present.state IS NULL THEN c.expected + 1 ELSE present.generation END,
                anchor_seq = CASE WHEN c.anchor > 0 THEN first_seq + c_ordinal[c.anchor]
                    WHEN present.version & 63 = 0 THEN present.commit_seq ELSE present.anchor_seq END
            FROM unnest(c_kind, c_id, c_expected, c_version, c_state, c_state_version, c_at_ms, c_ordinal, c_creation,
                c_anchor) WITH ORDINALITY
                AS c (kind, id, expected, version, state, state_version, at_ms, ordinal, creation, anchor, place)
            WHERE c.expected > 0 AND present.kind = c.kind AND present.id = c.id AND present.version = c.expected
            RETURNING c.place, present.previous_seq, present.anchor_seq, present.generation,
                (present.state IS NULL) = (present.generation <= c.expected) AS recount  -- it lives, or lived, but not both
        )
        SELECT array_agg(previous_seq) AS seq, array_agg(anchor_seq) AS anchor, array_agg(generation) AS generation,
            bool_or(recount) AS recount
        INTO prior FROM (SELECT * FROM changed ORDER BY place) AS each_object;
        written := coalesce(cardinality(prior.seq), 0);
        IF 0 = ANY (c_expected) THEN
            INSERT INTO goverse.objects (kind, id, hash, version, generation, state, state_version, commit_seq, previous_seq,
                anchor_seq, modified_ms, creation)
            SELECT c.kind, c.id, c.hash, c.version, 1, c.state, c.state_version, first_seq + c.ordinal, 0,
                CASE WHEN c.anchor > 0 THEN first_seq + c_ordinal[c.anchor] ELSE 0 END, c.at_ms, c.creation
            FROM unnest(c_kind, c_id, c_hash, c_expected, c_version, c_state, c_state_version, c_at_ms, c_ordinal, c_creation,
                c_anchor) AS c (kind, id, hash, expected, version, state, state_version, at_ms, ordinal, creation, anchor)
            WHERE c.expected = 0
            ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS added = ROW_COUNT;
        END IF;
        IF written + added <> c_objects THEN
            RAISE EXCEPTION 'a version is not the expected one' USING ERRCODE = 'GV002';
        END IF;
        IF added > 0 THEN  -- objects without a past take their places among the others
            SELECT array_agg(CASE WHEN expected > 0 THEN (prior.seq)[number] ELSE 0 END ORDER BY place) AS seq,
                array_agg(CASE WHEN expected > 0 THEN (prior.anchor)[number] ELSE 0 END ORDER BY place) AS anchor,
                array_agg(CASE WHEN expected > 0 THEN (prior.generation)[number] ELSE 1 END ORDER BY place) AS generation,
                true AS recount
            INTO prior FROM (
                SELECT place, expected, count(*) FILTER (WHERE expected > 0) OVER (ORDER BY place) AS number
                FROM unnest(c_expected) WITH ORDINALITY AS c (expected, place) WHERE expected >= 0
            ) AS each_object;
        END IF;
        IF prior.recount THEN
            INSERT INTO goverse.living AS counted (kind, writer, n)
            SELECT kind, p_writer, sum((state IS NOT NULL)::integer - ((prior.generation)[number] <= expected)::integer)
            FROM (
                SELECT kind, expected, state, row_number() OVER (ORDER BY place) AS number
                FROM unnest(c_kind, c_expected, c_state) WITH ORDINALITY AS c (kind, expected, state, place)
                WHERE expected >= 0
            ) AS each_object GROUP BY kind
            ON CONFLICT (kind, writer) DO UPDATE SET n = counted.n + excluded.n;
        END IF;
        IF begun.changes_kept THEN
            IF cardinality(c_object) > 0 THEN
                SELECT array_agg(CASE WHEN c.before > 0 THEN first_seq + c_ordinal[c.before] ELSE (prior.seq)[c.object] END
                        ORDER BY place) AS seq,
                    array_agg(CASE WHEN c.anchor > 0 THEN first_seq + c_ordinal[c.anchor]
                        ELSE (coalesce(old_anchors, prior.anchor))[c.object] END ORDER BY place) AS anchor,
                    array_agg((prior.generation)[c.object] ORDER BY place) AS generation
                INTO prior
                FROM unnest(c_object, c_before, c_anchor) WITH ORDINALITY AS c (object, before, anchor, place);
            END IF;
            INSERT INTO goverse.changes (day, base, last, kind, id, version, state, at_ms, ordinal, state_version, generation,
                previous_seq, anchor_seq, cause)
            VALUES (goverse.today(), first_seq, first_seq + c_ordinal[cardinality(c_ordinal)],
                c_kind, c_id, c_version, c_state, c_at_ms, c_ordinal, c_state_version, prior.generation,
                prior.seq, prior.anchor, c_cause);
        END IF;
    END IF;

    IF cardinality(k_id) > 0 AND EXISTS (
        SELECT FROM unnest(k_kind, k_id, k_expected) AS k (kind, id, expected)
        LEFT JOIN goverse.objects AS present USING (kind, id)
        WHERE coalesce(present.version, 0) <> k.expected
    ) THEN
        RAISE EXCEPTION 'a version is not the expected one' USING ERRCODE = 'GV002';
    END IF;

    IF cardinality(r_id) > 0 THEN
        now_ms := goverse.now_ms();
        IF EXISTS (
            SELECT FROM unnest(r_kind, r_id, r_key) AS r (kind, id, idempotency_key)
            JOIN goverse.replies AS kept USING (kind, id, idempotency_key)
            WHERE kept.expires_ms > now_ms
        ) THEN
            RAISE EXCEPTION 'a reply is kept under the key' USING ERRCODE = 'GV002';
        END IF;
        INSERT INTO goverse.replies (day, kind, id, idempotency_key, fingerprint, reply, expires_ms, commit_seq)
        SELECT goverse.today(), r.kind, r.id, r.key, r.fingerprint, r.reply, now_ms + r.lives_ms, first_seq + r.ordinal
        FROM unnest(r_kind, r_id, r_key, r_fingerprint, r_reply, r_lives_ms, r_ordinal)
            AS r (kind, id, key, fingerprint, reply, lives_ms, ordinal)
        ON CONFLICT (kind, id, idempotency_key, day) DO UPDATE
        SET fingerprint = excluded.fingerprint, reply = excluded.reply, expires_ms = excluded.expires_ms,
            commit_seq = excluded.commit_seq
        WHERE replies.expires_ms <= now_ms;
        GET DIAGNOSTICS added = ROW_COUNT;
        IF added <> cardinality(r_id) THEN
            RAISE EXCEPTION 'a reply is kept under the key' USING ERRCODE = 'GV002';
        END IF;
    END IF;

    IF cardinality(b_id) > 0 THEN
        now_ms := goverse.now_ms();
        IF EXISTS (
            SELECT FROM unnest(b_kind, b_id, b_key) AS b (kind, id, idempotency_key)
            JOIN goverse.brief_replies AS kept USING (kind, id, idempotency_key)
            WHERE kept.expires_ms > now_ms
        ) THEN
            RAISE EXCEPTION 'a reply is kept under the key' USING ERRCODE = 'GV002';
        END IF;
        INSERT INTO goverse.brief_replies (slot, kind, id, idempotency_key, fingerprint, reply, expires_ms, commit_seq)
        SELECT goverse.slot(0), b.kind, b.id, b.key, b.fingerprint, b.reply, now_ms + b.lives_ms, first_seq + b.ordinal
        FROM unnest(b_kind, b_id, b_key, b_fingerprint, b_reply, b_lives_ms, b_ordinal)
            AS b (kind, id, key, fingerprint, reply, lives_ms, ordinal)
        ON CONFLICT (kind, id, idempotency_key, slot) DO UPDATE
        SET fingerprint = excluded.fingerprint, reply = excluded.reply, expires_ms = excluded.expires_ms,
            commit_seq = excluded.commit_seq
        WHERE brief_replies.expires_ms <= now_ms;
        GET DIAGNOSTICS added = ROW_COUNT;
        IF added <> cardinality(b_id) THEN
            RAISE EXCEPTION 'a reply is kept under the key' USING ERRCODE = 'GV002';
        END IF;
    END IF;

    IF cardinality(m_router) > 0 THEN
        IF EXISTS (SELECT FROM goverse.resent WHERE router = ANY (m_router) AND number = ANY (m_number))
            OR (cardinality(s_number) > 0 AND goverse.has_router_reply(s_router, s_number))
        THEN
            RAISE EXCEPTION 'a reply is kept under the key' USING ERRCODE = 'GV002';
        END IF;
        now_ms := goverse.now_ms();
        FOR at IN 1 .. cardinality(m_router) LOOP
            INSERT INTO goverse.router_replies (slot, router, low, high, base, expires_ms, number, ordinal, reply)
            VALUES (goverse.slot(0), m_router[at], m_low[at], m_high[at], first_seq, now_ms + m_lives_ms[at],
                m_number[begins:m_end[at]], m_ordinal[begins:m_end[at]], m_reply[begins:m_end[at]]);
            begins := m_end[at] + 1;
        END LOOP;
        IF cardinality(s_number) > 0 THEN
            INSERT INTO goverse.resent (router, number, expires_ms)
            SELECT router, number, now_ms + m_lives_ms[1] FROM unnest(s_router, s_number) AS s (router, number);
        END IF;
    END IF;
    RETURN first_seq;
END
$$;

CREATE FUNCTION goverse.commit_each(
    p_writer bigint, p_owner integer, p_session integer, p_after bigint, p_batch bigint,
    r_kind bigint[], r_id bytea[], r_expected bigint[], r_version bigint[], r_state bytea[],
    r_state_version integer[], r_at_ms bigint[], r_shard integer[], r_epoch bigint[],
    -- a key, and if it was derived from a router's; or a router's number, and if it was sent before; null without a reply
    r_key bytea[], r_brief boolean[], r_router text[], r_number bigint[], r_resent boolean[],
    r_fingerprint bytea[], r_reply bytea[], r_lives_ms bigint[], r_creation bytea[], r_hash bigint[], r_cause bytea[]
) RETURNS jsonb LANGUAGE plpgsql AS $$
-- Commits what can be committed of a batch, record by record; returns the first position and why the others were not:
-- {"base": ..., "refused": {"<ordinal>": ["fenced" | "version" | "key", detail]}}.
DECLARE
    first_seq bigint;
    why_not jsonb := '{}';
    present record;
    present_version bigint;
    present_epoch bigint;
    present_owner integer;
    begun record;
    kept boolean;
    lives boolean;
    life bigint;
    anchor bigint;
    now_ms bigint := goverse.now_ms();
    at integer;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(71023, p_owner);
    begun := goverse.begin_batch(p_writer, p_session, p_after, p_batch);
    first_seq := begun.first_seq;
    FOR at IN 1 .. cardinality(r_id) LOOP
        IF r_epoch[at] > 0 THEN
            SELECT epoch, owner INTO present_epoch, present_owner FROM goverse.shards WHERE shard = r_shard[at];
            IF present_epoch IS DISTINCT FROM r_epoch[at] OR present_owner <> p_owner THEN
                why_not := why_not || jsonb_build_object(at - 1, jsonb_build_array('fenced', coalesce(present_epoch, 0)));
                CONTINUE;
            END IF;
        END IF;
        CONTINUE WHEN r_epoch[at] > 0 AND r_version[at] = r_expected[at] AND r_reply[at] IS NULL;
        SELECT version, generation, commit_seq, anchor_seq, state IS NOT NULL AS lives INTO present
        FROM goverse.objects WHERE kind = r_kind[at] AND id = r_id[at] FOR UPDATE;
        present_version := coalesce(present.version, 0);
        IF present_version <> r_expected[at] OR r_version[at] NOT IN (r_expected[at], r_expected[at] + 1) THEN
            why_not := why_not || jsonb_build_object(at - 1, jsonb_build_array('version', present_version));
            CONTINUE;
        END IF;
        IF r_key[at] IS NOT NULL AND r_brief[at] THEN
            kept := EXISTS (
                SELECT FROM goverse.brief_replies WHERE kind = r_kind[at] AND id = r_id[at]
                    AND idempotency_key = r_key[at] AND expires_ms > now_ms
            );
        ELSIF r_key[at] IS NOT NULL THEN
            kept := EXISTS (
                SELECT FROM goverse.replies WHERE kind = r_kind[at] AND id = r_id[at]
                    AND idempotency_key = r_key[at] AND expires_ms > now_ms
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
            lives := coalesce(present.lives, false);
            life := CASE WHEN lives THEN present.generation ELSE r_version[at] END;
            anchor := CASE WHEN present.version & 63 = 0 THEN present.commit_seq ELSE coalesce(present.anchor_seq, 0) END;
            INSERT INTO goverse.objects AS object
                (kind, id, hash, version, generation, state, state_version, commit_seq, previous_seq, anchor_seq, modified_ms,
                creation)
            VALUES (r_kind[at], r_id[at], r_hash[at], r_version[at], life, r_state[at], r_state_version[at],
                first_seq + at - 1, coalesce(present.commit_seq, 0), anchor, r_at_ms[at], r_creation[at])
            ON CONFLICT (kind, id) DO UPDATE
            SET version = excluded.version, generation = excluded.generation, state = excluded.state,
                state_version = excluded.state_version, commit_seq = excluded.commit_seq, previous_seq = excluded.previous_seq,
                anchor_seq = excluded.anchor_seq, modified_ms = excluded.modified_ms, creation = excluded.creation
            WHERE object.version = present_version;
            IF NOT FOUND THEN  -- created by another transaction in this moment
                why_not := why_not || jsonb_build_object(at - 1, jsonb_build_array('version', -1));
                CONTINUE;
            END IF;
            IF lives <> (r_state[at] IS NOT NULL) THEN
                INSERT INTO goverse.living AS counted (kind, writer, n)
                VALUES (r_kind[at], p_writer, CASE WHEN lives THEN -1 ELSE 1 END)
                ON CONFLICT (kind, writer) DO UPDATE SET n = counted.n + excluded.n;
            END IF;
            IF begun.changes_kept THEN
                INSERT INTO goverse.changes (day, base, last, kind, id, version, state, at_ms, ordinal, state_version,
                    generation, previous_seq, anchor_seq, cause)
                VALUES (goverse.today(), first_seq + at - 1, first_seq + at - 1, r_kind[at:at], r_id[at:at],
                    r_version[at:at], r_state[at:at], r_at_ms[at:at], '{0}', r_state_version[at:at],
                    ARRAY[life], ARRAY[coalesce(present.commit_seq, 0)], ARRAY[anchor], r_cause[at:at]);
            END IF;
        END IF;
        IF r_key[at] IS NOT NULL AND r_brief[at] THEN
            INSERT INTO goverse.brief_replies (slot, kind, id, idempotency_key, fingerprint, reply, expires_ms, commit_seq)
            VALUES (goverse.slot(0), r_kind[at], r_id[at], r_key[at], r_fingerprint[at], r_reply[at],
                now_ms + r_lives_ms[at], first_seq + at - 1)
            ON CONFLICT (kind, id, idempotency_key, slot) DO UPDATE
            SET fingerprint = excluded.fingerprint, reply = excluded.reply, expires_ms = excluded.expires_ms,
                commit_seq = excluded.commit_seq;
        ELSIF r_key[at] IS NOT NULL THEN
            INSERT INTO goverse.replies (day, kind, id, idempotency_key, fingerprint, reply, expires_ms, commit_seq)
            VALUES (goverse.today(), r_kind[at], r_id[at], r_key[at], r_fingerprint[at], r_reply[at],
                now_ms + r_lives_ms[at], first_seq + at - 1)
            ON CONFLICT (kind, id, idempotency_key, day) DO UPDATE
            SET fingerprint = excluded.fingerprint, reply = excluded.reply, expires_ms = excluded.expires_ms,
                commit_seq = excluded.commit_seq;
        ELSIF r_router[at] IS NOT NULL THEN
            INSERT INTO goverse.router_replies (slot, router, low, high, base, expires_ms, number, ordinal, reply)
            VALUES (goverse.slot(0), r_router[at], r_number[at], r_number[at], first_seq + at - 1,
                now_ms + r_lives_ms[at], r_number[at:at], '{0}', r_reply[at:at]);
            IF r_resent[at] THEN
                INSERT INTO goverse.resent (router, number, expires_ms)
                VALUES (r_router[at], r_number[at], now_ms + r_lives_ms[at]);
            END IF;
        END IF;
    END LOOP;
    UPDATE goverse.writers SET refused = why_not WHERE number = p_writer;
    RETURN jsonb_build_object('base', first_seq, 'refused', why_not);
END
$$;

-- A commit function that gets further arguments keeps its old form beside the new one for a minor release: nodes of both
-- releases commit into the same database during an upgrade.

CREATE FUNCTION goverse.commit_batch(
    p_writer bigint, p_owner integer, p_session integer, p_after bigint, p_batch bigint,
    -- the distinct claims that the records were made under
    p_shards integer[], p_epochs bigint[],
    -- the changes, in order; expected is what the object must be at, and -1 where a later change of the batch makes it
    c_kind bigint[], c_id bytea[], c_expected bigint[], c_version bigint[], c_state bytea[], c_state_version integer[],
    c_at_ms bigint[], c_ordinal integer[], c_creation bytea[], c_objects integer,
    -- per object that is not written: what it must be
    k_kind bigint[], k_id bytea[], k_expected bigint[],
    -- the replies to keep under keys that callers chose; each for so long
    r_kind bigint[], r_id bytea[], r_key bytea[], r_fingerprint bytea[], r_reply bytea[], r_lives_ms bigint[],
    r_ordinal integer[],
    -- those under keys that were derived from a router's
    b_kind bigint[], b_id bytea[], b_key bytea[], b_fingerprint bytea[], b_reply bytea[], b_lives_ms bigint[],
    b_ordinal integer[],
    -- per router: where its replies end among those below, its lowest and highest number
    m_router text[], m_end integer[], m_low bigint[], m_high bigint[], m_lives_ms bigint[],
    m_number bigint[], m_ordinal integer[], m_reply bytea[],
    -- those of them that were sent before
    s_router text[], s_number bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
-- For nodes of the release before hashes and links: they compute no hash and name no cause.
DECLARE
    no_hash bigint[] := array_fill(0::bigint, ARRAY[cardinality(c_id)]);
    no_cause bytea[] := array_fill(NULL::bytea, ARRAY[cardinality(c_id)]);
    object integer[] := '{}';
    before integer[] := '{}';
    anchor integer[] := '{}';
    revived boolean := false;
    first_seq bigint;
BEGIN
    IF cardinality(c_id) <> c_objects THEN
        SELECT array_agg(number ORDER BY place), array_agg(coalesce(earlier, 0) ORDER BY place),
            array_agg(coalesce(latest, 0) ORDER BY place), bool_or(deleted)
        INTO object, before, anchor, revived
        FROM (
            SELECT place, earlier, latest, deleted, dense_rank() OVER (ORDER BY final) AS number
            FROM (
                SELECT place, max(place) OVER each_object AS final, lag(place) OVER so_far AS earlier,
                    lag(state IS NULL) OVER so_far AS deleted,
                    max(place) FILTER (WHERE version & 63 = 0) OVER (so_far ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                        AS latest
                FROM unnest(c_kind, c_id, c_version, c_state) WITH ORDINALITY AS c (kind, id, version, state, place)
                WINDOW each_object AS (PARTITION BY kind, id), so_far AS (PARTITION BY kind, id ORDER BY place)
            ) AS change
        ) AS numbered;
    END IF;
    IF revived THEN  -- the node then calls commit_each, which gives each life its generation
        RAISE EXCEPTION 'an object is deleted and created again' USING ERRCODE = 'GV002';
    END IF;
    first_seq := goverse.commit_batch(
        p_writer, p_owner, p_session, p_after, p_batch, p_shards, p_epochs, c_kind, c_id, c_expected, c_version, c_state,
        c_state_version, c_at_ms, c_ordinal, c_creation, c_objects, no_hash, no_cause, object, before, anchor, k_kind,
        k_id, k_expected, r_kind, r_id, r_key, r_fingerprint, r_reply, r_lives_ms, r_ordinal, b_kind, b_id, b_key,
        b_fingerprint, b_reply, b_lives_ms, b_ordinal, m_router, m_end, m_low, m_high, m_lives_ms, m_number, m_ordinal,
        m_reply, s_router, s_number);
    INSERT INTO goverse.unplaced (kind, id)
    SELECT kind, id FROM unnest(c_kind, c_id, c_expected) AS c (kind, id, expected) WHERE expected = 0
    ON CONFLICT DO NOTHING;
    RETURN first_seq;
END
$$;

CREATE FUNCTION goverse.commit_each(
    p_writer bigint, p_owner integer, p_session integer, p_after bigint, p_batch bigint,
    r_kind bigint[], r_id bytea[], r_expected bigint[], r_version bigint[], r_state bytea[],
    r_state_version integer[], r_at_ms bigint[], r_shard integer[], r_epoch bigint[],
    -- a key, and if it was derived from a router's; or a router's number, and if it was sent before; null without a reply
    r_key bytea[], r_brief boolean[], r_router text[], r_number bigint[], r_resent boolean[],
    r_fingerprint bytea[], r_reply bytea[], r_lives_ms bigint[], r_creation bytea[]
) RETURNS jsonb LANGUAGE plpgsql AS $$
-- For nodes of the release before hashes and links.
DECLARE
    answer jsonb;
BEGIN
    answer := goverse.commit_each(
        p_writer, p_owner, p_session, p_after, p_batch, r_kind, r_id, r_expected, r_version, r_state, r_state_version,
        r_at_ms, r_shard, r_epoch, r_key, r_brief, r_router, r_number, r_resent, r_fingerprint, r_reply, r_lives_ms,
        r_creation, array_fill(0::bigint, ARRAY[cardinality(r_id)]), array_fill(NULL::bytea, ARRAY[cardinality(r_id)]));
    INSERT INTO goverse.unplaced (kind, id)
    SELECT present.kind, present.id FROM unnest(r_kind, r_id, r_expected, r_version) AS r (kind, id, expected, version)
    JOIN goverse.objects AS present USING (kind, id)
    WHERE r.expected = 0 AND r.version = 1 AND present.hash = 0
    ON CONFLICT DO NOTHING;
    RETURN answer;
END
$$;

CREATE FUNCTION goverse.fill_in_hashes(p_kind bigint[], p_id bytea[], p_hash bigint[]) RETURNS integer LANGUAGE sql AS $$
    WITH found AS (
        DELETE FROM goverse.unplaced USING unnest(p_kind, p_id, p_hash) AS o (kind, id, hash)
        WHERE unplaced.kind = o.kind AND unplaced.id = o.id
        RETURNING o.kind, o.id, o.hash
    ), filled AS (
        UPDATE goverse.objects AS present SET hash = found.hash FROM found
        WHERE present.kind = found.kind AND present.id = found.id
        RETURNING 1
    )
    SELECT count(*)::integer FROM filled
$$;

CREATE FUNCTION goverse.is_past(p_day integer, p_changes_days integer) RETURNS boolean LANGUAGE sql STABLE AS $$
    -- if the changes of a day need not be kept any more
    SELECT CASE WHEN NOT kept THEN true WHEN p_changes_days > 0 THEN p_day < goverse.today() - p_changes_days ELSE false END
    FROM goverse.feed
$$;

-- Changing partitions needs locks that no reader shares, and every commit queues behind a request for one. So each function
-- waits for a moment only: beside a dump, which reads all tables for an hour, it fails and is tried again later.

CREATE FUNCTION goverse.prepare_day(p_parent text, p_day integer) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
-- Makes the partition of one day, and moves the rows of that day into it that are in the rest table: no partition can be made
-- beside them. Many of them stay where they are, since commits wait meanwhile; they go with their day. Tells if it is new.
DECLARE
    partition text := p_parent || '_' || p_day;
    rest text := p_parent || '_rest';
    many boolean;
BEGIN
    IF p_parent NOT IN ('changes', 'replies') THEN
        RAISE EXCEPTION '% has no days', p_parent;
    END IF;
    PERFORM pg_advisory_xact_lock(71024, 0);
    IF to_regclass(format('goverse.%I', partition)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('LOCK TABLE goverse.%I IN ACCESS EXCLUSIVE MODE', rest);
    EXECUTE format('SELECT count(*) > 100000 FROM (SELECT FROM goverse.%I WHERE day = $1 LIMIT 100001) AS found', rest)
        INTO many USING p_day;
    IF many THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE goverse.%I (LIKE goverse.%I INCLUDING ALL)%s', partition, p_parent,
        -- what fits into a page stays in one row
        CASE p_parent WHEN 'changes' THEN ' WITH (toast_tuple_target = 8160)' END);
    EXECUTE format('WITH moved AS (DELETE FROM goverse.%I WHERE day = $1 RETURNING *) INSERT INTO goverse.%I SELECT * FROM moved',
        rest, partition) USING p_day;
    EXECUTE format('ALTER TABLE goverse.%I ATTACH PARTITION goverse.%I FOR VALUES FROM (%s) TO (%s)',
        p_parent, partition, p_day, p_day + 1);
    RETURN true;
END
$$;

CREATE FUNCTION goverse.days_to_prepare(p_days integer) RETURNS TABLE (parent text, day integer) LANGUAGE sql STABLE AS $$
    -- The partitions that are missing of today and the next days; none of changes while they are not kept.
    SELECT parent, day FROM unnest(ARRAY['replies', 'changes']) AS parent,
        generate_series(goverse.today(), goverse.today() + p_days) AS day
    WHERE to_regclass(format('goverse.%I', parent || '_' || day)) IS NULL
        AND (parent = 'replies' OR (SELECT kept FROM goverse.feed))
    ORDER BY day
$$;

CREATE FUNCTION goverse.prepare_days(p_days integer) RETURNS integer LANGUAGE sql AS $$
    -- Makes the missing partitions in one transaction, for one who restores a dump; returns how many.
    SELECT count(*) FILTER (WHERE goverse.prepare_day(parent, day))::integer FROM goverse.days_to_prepare(p_days)
$$;

CREATE FUNCTION goverse.forget_router_replies() RETURNS void LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
-- Empties the parts whose turn is next; what they hold is at least twenty minutes old. Not if that turn came while this
-- waited for the lock: then a part holds new replies as well.
DECLARE
    turn integer := goverse.slot(1);
    next_part text;
    used boolean;
BEGIN
    FOREACH next_part IN ARRAY ARRAY['router_replies_' || turn, 'brief_replies_' || turn] LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM goverse.%I)', next_part) INTO used;
        IF used THEN
            EXECUTE format('TRUNCATE goverse.%I', next_part);
            IF floor(extract(epoch FROM clock_timestamp()) / 600) > floor(extract(epoch FROM now()) / 600) THEN
                RAISE EXCEPTION 'the turn of % has come', next_part USING ERRCODE = 'lock_not_available';
            END IF;
        END IF;
    END LOOP;
    DELETE FROM goverse.resent WHERE expires_ms <= goverse.now_ms();
END
$$;

CREATE FUNCTION goverse.expired_days(p_changes_days integer, p_replies_days integer)
RETURNS TABLE (partition text, day integer, bytes bigint) LANGUAGE sql STABLE AS $$
    -- The partitions that hold nothing that must be kept any more: all of changes while the feed is switched off. A process that
    -- is told to keep no changes drops none while another one keeps them.
    SELECT child.relname::text, substring(child.relname FROM '_(\d+)$')::integer, pg_total_relation_size(child.oid)
    FROM pg_inherits
    JOIN pg_class AS child ON child.oid = inhrelid
    JOIN pg_class AS parent ON parent.oid = inhparent
    JOIN pg_namespace AS home ON home.oid = parent.relnamespace
    WHERE home.nspname = 'goverse' AND parent.relname IN ('changes', 'replies') AND child.relname ~ '_\d+$'
        AND CASE parent.relname
            WHEN 'changes' THEN goverse.is_past(substring(child.relname FROM '_(\d+)$')::integer, p_changes_days)
            ELSE substring(child.relname FROM '_(\d+)$')::integer < goverse.today() - p_replies_days
        END
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

CREATE FUNCTION goverse.trim_rest(p_changes_days integer, p_limit integer) RETURNS bigint LANGUAGE plpgsql AS $$
-- Removes up to so many changes that are past their retention and have no partition of their day; returns how many. Readers
-- of the feed look at trimmed_seq after they read, so it is raised in the same transaction.
DECLARE
    removed bigint;
    newest bigint;
BEGIN
    WITH gone AS (
        DELETE FROM goverse.changes_rest WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM goverse.changes_rest WHERE goverse.is_past(day, p_changes_days) LIMIT p_limit
        )) RETURNING last
    )
    SELECT count(*), max(last) INTO removed, newest FROM gone;
    IF removed > 0 THEN
        UPDATE goverse.feed SET trimmed_seq = greatest(trimmed_seq, newest);
    END IF;
    RETURN removed;
END
$$;

CREATE FUNCTION goverse.keep_changes(p_kept boolean) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
-- Switches the change feed on or off for all nodes; tells if that changed anything. The lock waits for the commits under way,
-- so those behind it see the switch, and no change behind trimmed_seq is missing.
BEGIN
    PERFORM pg_advisory_xact_lock(71024, 1);
    IF (SELECT kept FROM goverse.feed) = p_kept THEN
        RETURN false;
    END IF;
    LOCK TABLE goverse.feed IN ACCESS EXCLUSIVE MODE;
    UPDATE goverse.feed SET kept = p_kept,
        trimmed_seq = greatest(trimmed_seq, seq_offset + (pg_current_xact_id()::text::bigint << 20) - 1)
    WHERE kept <> p_kept;
    RETURN FOUND;
END
$$;

CREATE FUNCTION goverse.forget_writers(p_older interval) RETURNS bigint LANGUAGE plpgsql AS $$
-- Forgets processes that were not seen for so long; returns how many. What they wrote last still counts for positions, and what
-- they created and deleted for the number of objects.
DECLARE
    removed bigint;
    newest bigint;
BEGIN
    WITH gone AS (DELETE FROM goverse.writers WHERE seen < now() - p_older RETURNING base)
    SELECT count(*), max(base) INTO removed, newest FROM gone;
    IF removed > 0 THEN
        UPDATE goverse.feed SET newest_seq = greatest(newest_seq, newest + (1 << 20) - 1);
        WITH gone AS (
            DELETE FROM goverse.living WHERE writer <> 0 AND writer NOT IN (SELECT number FROM goverse.writers)
            RETURNING kind, n
        )
        INSERT INTO goverse.living AS counted (kind, writer, n) SELECT kind, 0, sum(n) FROM gone GROUP BY kind
        ON CONFLICT (kind, writer) DO UPDATE SET n = counted.n + excluded.n;
    END IF;
    RETURN removed;
END
$$;
