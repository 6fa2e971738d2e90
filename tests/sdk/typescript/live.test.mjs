// The TypeScript client against a gate: GATE_URL, and PROXY_URL, a proxy that can lose responses.
import assert from "node:assert/strict";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { test } from "node:test";

import { BusinessError, CallTimeout, ConnectionFailed, GoVerse, GoverseError, NEVER, UnexpectedAnswer } from "@goverse/client";

const url = process.env.GATE_URL;
const gv = new GoVerse(url);
const JSON_TYPE = { "content-type": "application/json" };

/** A server that answers each request with `answer(number, request)`: status, headers, body; `seen` are the requests. */
async function scripted(answer) {
  const seen = [];
  const server = createHttpServer((request, response) => {
    let body = "";
    request.on("data", (data) => (body += data));
    request.on("end", () => {
      seen.push({ key: request.headers["idempotency-key"], headers: request.headers, body });
      const [status, headers, text] = answer(seen.length, request);
      response.writeHead(status, headers).end(text);
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    seen,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A proxy that passes requests on and drops the first `losses` answers once they are there. */
async function losing(losses) {
  let left = losses;
  const { hostname, port } = new URL(url);
  const { connect } = await import("node:net");
  const server = createServer((client) => {
    const gate = connect(Number(port), hostname);
    client.pipe(gate);
    gate.on("data", (data) => {
      if (left > 0) {
        left -= 1;
        client.destroy();
        gate.destroy();
      } else client.write(data);
    });
    for (const [one, other] of [[client, gate], [gate, client]]) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close(), left: () => left };
}

test("an object is created, called, read, listed and deleted", async () => {
  const account = gv.object("Account", "ts/1");
  assert.deepEqual((await account.create({ balance: 5 })).value, { id: "ts/1", version: 1 });
  assert.equal(await account.call("add", { amount: 2 }), 7);
  const reply = await account.getReply();
  assert.deepEqual([reply.value, reply.version, reply.replayed], [{ balance: 7 }, 2, false]);
  assert.ok(reply.requestId);
  const listed = [];
  for await (const each of gv.list("Account", "ts/")) listed.push(each);
  assert.deepEqual(listed, [{ id: "ts/1", version: 2 }]);
  await assert.rejects(account.createNew(), { code: "object_exists", status: 409 });
  await account.delete();
  await assert.rejects(account.get(), { code: "object_not_found", status: 404, attempts: 1 });
  assert.deepEqual(await (await gv.create("Account", { balance: 9 })).get(), { balance: 9 });
});

test("a listing goes over its pages", async () => {
  for (let number = 0; number < 5; number += 1) await gv.object("Account", `paged-${number}`).create();
  const ids = [];
  for await (const { id } of gv.list("Account", "paged-", 2)) ids.push(id);
  assert.deepEqual(ids, [0, 1, 2, 3, 4].map((number) => `paged-${number}`));
});

for (const id of ["a/b", "a//b", "ä?#%", " ", "%2F", "...", "x".repeat(512), "+&=;", "日本"]) {
  test(`the id ${JSON.stringify(id.slice(0, 8))} arrives as it is`, async () => {
    await gv.object("Account", id).call("add", { amount: 1 });
    const ids = [];
    for await (const each of gv.list("Account", id)) ids.push(each.id);
    assert.ok(ids.includes(id));
  });
}

test("invalid ids are refused by the client", () => {
  for (const id of ["", "x".repeat(513), "ä".repeat(257), ".", ".."]) assert.throws(() => gv.object("Account", id), RangeError);
});

test("errors have classes, codes and details", async () => {
  const account = gv.object("Account", "ts-refusing");
  await assert.rejects(account.call("add", { amount: -1 }), (error) => {
    assert.ok(error instanceof BusinessError);
    assert.deepEqual([error.status, error.code, error.extra.balance], [402, "insufficient_funds", 0]);
    assert.match(error.message, /^insufficient_funds: too little is there \(request .+\)$/);
    return true;
  });
  await assert.rejects(account.call("add", { amount: "much" }), (error) => {
    assert.ok(error instanceof GoverseError && !(error instanceof BusinessError));
    assert.deepEqual(error.errors.map(({ path }) => path), ["/amount"]);
    return error.code === "invalid_arguments";
  });
  await assert.rejects(account.call("subtract"), { code: "unknown_method" });
  await assert.rejects(gv.object("Acount", "x").call("add"), { code: "unknown_type" });
});

test("keys, versions and positions are sent and returned", async () => {
  const account = gv.object("Account", "ts-keyed");
  const once = account.withOptions({ idempotencyKey: "order-7" });
  const first = await once.callReply("add", { amount: 3 });
  const again = await once.callReply("add", { amount: 3 });
  assert.deepEqual([first.value, again.value, first.replayed, again.replayed], [3, 3, false, true]);
  assert.equal(typeof first.commitSeq, "bigint");
  await assert.rejects(once.call("add", { amount: 4 }), { code: "idempotency_key_mismatch" });
  await assert.rejects(account.withOptions({ ifMatch: 9 }).call("add", { amount: 1 }), { code: "version_mismatch" });
  const read = account.withOptions({ ifMatch: first.version, minSeq: first.commitSeq });
  assert.equal(await read.call("add", { amount: 1 }), 4);
  assert.equal(await account.withOptions({ namespace: "other" }).call("add", { amount: 1 }), 1);
});

test("a call whose response was lost is retried with a single effect", async () => {
  const proxy = await losing(2);
  try {
    const reply = await new GoVerse(proxy.url).object("Account", "ts-lost").callReply("add", { amount: 10 });
    assert.deepEqual([reply.value, reply.replayed, proxy.left()], [10, true, 0]);
  } finally {
    proxy.close();
  }
});

test("without keys a lost response is an error", async () => {
  const proxy = await losing(1);
  try {
    const keyless = new GoVerse(proxy.url, { makeKeys: false });
    await assert.rejects(keyless.object("Account", "ts-keyless").call("add", { amount: 10 }), (error) => {
      assert.ok(error instanceof ConnectionFailed);
      assert.match(error.detail, /it is unknown whether the request ran/);
      return true;
    });
    assert.deepEqual(await gv.object("Account", "ts-keyless").get(), { balance: 10 });
  } finally {
    proxy.close();
  }
});

test("retryable errors are retried with the same key and less time", async () => {
  const seen = [];
  const problem = (status, code, headers = {}) =>
    new Response(JSON.stringify({ code, status, detail: "later", retryable: true, request_id: "r" }), {
      status,
      headers: { "content-type": "application/problem+json", ...headers },
    });
  const answers = [problem(503, "moving"), problem(429, "overloaded", { "retry-after": "0" }), new Response("<p>", { status: 502 })];
  const next = async (_, { headers }) => {
    seen.push(headers);
    return answers.shift() ?? new Response("2", { headers: { ...JSON_TYPE, etag: '"1"' } });
  };
  const counted = new GoVerse("http://gate", { fetch: async (input, init) => next(input, { headers: { ...init.headers } }), timeoutMs: 10_000 });
  assert.equal(await counted.object("Account", "a").call("add", { amount: 2 }), 2);
  assert.equal(new Set(seen.map((headers) => headers["idempotency-key"])).size, 1);
  const times = seen.map((headers) => Number(headers["goverse-timeout"]));
  assert.equal(times.length, 4);
  assert.ok(times.every((time, at) => time <= 10 && (at === 0 || time <= times[at - 1])));
});

test("without keys an error of the gate is retried, the response of a proxy is not", async () => {
  const problem = JSON.stringify({ code: "moving", status: 503, detail: "later", retryable: true });
  const moving = await scripted((number) => (number < 3 ? [503, { "content-type": "application/problem+json" }, problem] : [200, JSON_TYPE, "2"]));
  const proxy = await scripted(() => [503, { "content-type": "text/plain" }, "upstream connect error"]);
  try {
    assert.equal(await new GoVerse(moving.url, { makeKeys: false }).object("A", "a").call("x"), 2);
    assert.deepEqual(moving.seen.map(({ key }) => key), [undefined, undefined, undefined]);
    await assert.rejects(new GoVerse(proxy.url, { makeKeys: false }).object("A", "a").call("x"), { status: 503, attempts: 1 });
    assert.equal(proxy.seen.length, 1);
  } finally {
    moving.close();
    proxy.close();
  }
});

test("a pause beyond the timeout is not started; a policy limits the attempts", async () => {
  const later = () =>
    new Response(JSON.stringify({ code: "unavailable", retryable: true }), {
      status: 503,
      headers: { "content-type": "application/problem+json", "retry-after": "60" },
    });
  await assert.rejects(new GoVerse("http://gate", { fetch: async () => later() }).object("A", "a").get(), { attempts: 1, retryAfterMs: 60_000 });
  const never = { fetch: () => Promise.reject(new TypeError("no network")), retries: NEVER };
  await assert.rejects(new GoVerse("http://gate", never).object("A", "a").get(), { code: "connection_failed", attempts: 1 });
});

test("a process suspended in a pause sends nothing after the deadline", async (context) => {
  const [now, later] = [performance.now.bind(performance), setTimeout];
  let stoppedMs = 0;
  let sent = 0;
  context.mock.method(performance, "now", () => now() + stoppedMs);
  context.mock.method(globalThis, "setTimeout", (done, ms, ...more) => {
    if (ms === 250) stoppedMs = 60_000; // the pause; others have timers too
    return later(done, ms, ...more);
  });
  const moving = async () => {
    sent += 1;
    const body = JSON.stringify({ code: "moving", detail: "on its way", retryable: true });
    return new Response(body, { status: 503, headers: { "content-type": "application/problem+json", "retry-after": "0.25" } });
  };
  const stopped = new GoVerse("http://gate", { fetch: moving, retries: { pauseMs: 0 } });
  await assert.rejects(stopped.object("A", "a").call("x"), (error) => {
    assert.ok(error instanceof CallTimeout, String(error));
    assert.match(error.detail, /before a retry; error: on its way/);
    return error.attempts === 1;
  });
  assert.equal(sent, 1);
});

test("a call ends at its timeout, or when it is aborted", async () => {
  const silent = createServer(() => {});
  await new Promise((done) => silent.listen(0, "127.0.0.1", done));
  const sockets = new Set();
  silent.on("connection", (socket) => sockets.add(socket));
  try {
    const object = new GoVerse(`http://127.0.0.1:${silent.address().port}`, { timeoutMs: 50 }).object("A", "a");
    await assert.rejects(object.call("x"), CallTimeout);
    await assert.rejects(object.withOptions({ timeoutMs: 60_000, signal: AbortSignal.timeout(50) }).call("x"), { name: "TimeoutError" });
  } finally {
    for (const socket of sockets) socket.destroy();
    silent.close();
  }
});

test("a redirect is an error with its target and is not retried", async () => {
  for (const status of [301, 302, 303, 307, 308]) {
    const server = await scripted(() => [status, { location: "https://gate.example/x" }, ""]);
    try {
      await assert.rejects(new GoVerse(server.url).object("A", "a").call("x"), (error) => {
        assert.ok(error instanceof UnexpectedAnswer, String(error));
        assert.deepEqual([error.status, error.attempts, server.seen.length], [status, 1, 1]);
        assert.match(error.detail, /redirects to "https:\/\/gate\.example\/x"/);
        return true;
      });
    } finally {
      server.close();
    }
  }
});

test("a success that is not from a gate is an error", async () => {
  const html = { "content-type": "text/html" };
  const others = [[200, html, ""], [200, html, "42"], [200, {}, ""], [200, JSON_TYPE, ""], [204, {}, null]];
  for (const [status, headers, text] of others) {
    const other = new GoVerse("http://gate", { fetch: async () => new Response(text, { status, headers }) });
    await assert.rejects(other.object("A", "a").call("x"), UnexpectedAnswer);
    await assert.rejects(other.object("A", "a").get(), UnexpectedAnswer);
  }
  await new GoVerse("http://gate", { fetch: async () => new Response(null, { status: 204 }) }).object("A", "a").delete();
});

test("invalid requests are refused before anything is sent", async () => {
  const ring = {};
  ring.ring = ring;
  const throwing = { toJSON: () => assert.fail("no JSON of this") };
  const lone = "\ud800";
  let sent = 0;
  const counting = async () => {
    sent += 1;
    return new Response("1", { headers: JSON_TYPE });
  };
  const object = new GoVerse("http://gate", { fetch: counting }).object("A", "a");
  const refused = [() => object.call(lone)];
  for (const args of [{ by: 1n }, ring, throwing, () => 1]) refused.push(() => object.call("x", args));
  for (const key of ["", "a\nb", "a\r\nx: y", "注文", "bestellung-ä", " a", "a\0"]) {
    refused.push(() => object.withOptions({ idempotencyKey: key }).call("x"));
  }
  for (const namespace of ["", "läden", "a\nb"]) refused.push(() => object.withOptions({ namespace }).get());
  for (const timeoutMs of [NaN, Infinity, -Infinity, 0, -1, 2 ** 31, 30 * 86_400_000]) {
    refused.push(() => object.withOptions({ timeoutMs }).call("x"));
  }
  for (const call of refused) {
    await assert.rejects(call(), (error) => {
      assert.ok(error instanceof GoverseError, String(error));
      assert.deepEqual([error.code, error.status, error.attempts, error.retryable], ["malformed_request", 0, 0, false]);
      return true;
    });
  }
  assert.equal(sent, 0);
  assert.equal(await object.withOptions({ timeoutMs: 24 * 86_400_000 }).call("x"), 1);
  for (const headers of [{ a: "b\nc" }, { "a b": "c" }]) assert.throws(() => new GoVerse("http://gate", { headers }), TypeError);
  assert.throws(() => new GoVerse("http://user:secret@gate"), TypeError);
});

test("a long timeout waits for its response, and the client's own headers take precedence", async () => {
  const slow = await scripted(() => [200, JSON_TYPE, "1"]);
  try {
    const client = new GoVerse(slow.url, { timeoutMs: 24 * 86_400_000, headers: { "Idempotency-Key": "theirs", Authorization: "x" } });
    assert.equal(await client.object("A", "a").withOptions({ idempotencyKey: "ours" }).call("x"), 1);
    assert.deepEqual([slow.seen[0].key, slow.seen[0].headers.authorization], ["ours", "x"]);
  } finally {
    slow.close();
  }
});

test("responses that are not from a gate are recognised", async () => {
  const page = async () => new Response("<html>", { status: 200 });
  await assert.rejects(new GoVerse("http://gate", { fetch: page }).object("A", "a").get(), UnexpectedAnswer);
  for (const wrong of ["localhost:8000", "ftp://gate", ""]) assert.throws(() => new GoVerse(wrong), /https:\/\/gate\.example/);
  for (const secret of ["http://ann:s3cret@gate", "ftp://ann:s3cret@gate", "http://ann:s3cret@gate:port"]) {
    assert.throws(() => new GoVerse(secret), (error) => error instanceof TypeError && !error.message.includes("s3cret"));
  }
});

// Broken or hostile servers: typed errors, bounded memory, and no retries of requests that may have run ----------------

test("a response above the limit is aborted", async () => {
  const server = createHttpServer((request, response) => {
    response.writeHead(200, JSON_TYPE);
    const more = () => {
      while (!response.destroyed && response.write(" ".repeat(65_536)));
    };
    response.on("drain", more);
    more();
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const small = new GoVerse(`http://127.0.0.1:${server.address().port}`, { answerBytesMax: 100_000 });
  await assert.rejects(small.object("A", "a").call("x"), (error) => {
    assert.ok(error instanceof UnexpectedAnswer);
    assert.match(error.detail, /larger than 100000 bytes/);
    assert.equal(error.attempts, 1);
    return true;
  });
  server.closeAllConnections();
  server.close();
});

for (const [name, text] of [["deep", "[".repeat(50_000)], ["half", "{"], ["nothing", ""]]) {
  test(`invalid JSON is an unexpected answer: ${name}`, async () => {
    const peer = await scripted(() => [200, JSON_TYPE, text]);
    await assert.rejects(new GoVerse(peer.url).object("A", "a").call("x"), (error) => {
      assert.ok(error instanceof UnexpectedAnswer);
      assert.equal(error.attempts, 1);
      return true;
    });
    peer.close();
  });
}

for (const page of [{ items: [], cursor: "same" }, { items: 5, cursor: null }, { items: [{}], cursor: null }, {}, [], null]) {
  test(`a listing that is none is an unexpected answer: ${JSON.stringify(page)}`, async () => {
    const peer = await scripted(() => [200, JSON_TYPE, JSON.stringify(page)]);
    await assert.rejects(async () => {
      for await (const each of new GoVerse(peer.url).list("A")) assert.ok(each);
    }, UnexpectedAnswer);
    assert.ok(peer.seen.length <= 2);
    peer.close();
  });
}

test("a create response without an id is an unexpected answer", async () => {
  const peer = await scripted(() => [201, JSON_TYPE, "[]"]);
  await assert.rejects(new GoVerse(peer.url).create("A"), UnexpectedAnswer);
  peer.close();
});

for (const [text, value] of [
  ["9007199254740991", 9007199254740991],
  ["9007199254740992", 9007199254740992],
  ["[-10000000000000000, 0.12345678901234567, 12345678901234567.5, 12345678901234567e3]", [-1e16, 0.12345678901234567, 12345678901234567.5, 12345678901234567e3]],
  ['{"9007199254740993": "9007199254740993", "\\\\": "\\"9007199254740993"}', { 9007199254740993n: "9007199254740993", "\\": '"9007199254740993' }],
]) {
  test(`numbers that JavaScript holds arrive as they are: ${text}`, async () => {
    const peer = await scripted(() => [200, JSON_TYPE, text]);
    assert.deepEqual(await new GoVerse(peer.url).object("A", "a").call("x"), value);
    peer.close();
  });
}

for (const [text, integer] of [
  ["9007199254740993", "9007199254740993"],
  ['{"a": ["\\\\", -9007199254740993]}', "9007199254740993"],
  [`[1.5, 1${"0".repeat(400)}]`, `1${"0".repeat(39)}…`],
]) {
  test(`an integer that JavaScript would round is refused: ${text.slice(0, 40)}`, async () => {
    const peer = await scripted(() => [200, JSON_TYPE, text]);
    await assert.rejects(new GoVerse(peer.url).object("A", "a").get(), (error) => {
      assert.ok(error instanceof UnexpectedAnswer);
      assert.match(error.detail, new RegExp(`contains the integer ${integer}, .* as a string`));
      assert.equal(error.attempts, 1);
      return true;
    });
    const rounding = new GoVerse(peer.url, { roundIntegers: true });
    assert.deepEqual(await rounding.object("A", "a").get(), JSON.parse(text));
    peer.close();
  });
}

test("numbers that JSON cannot represent are refused before anything is sent", async () => {
  const peer = await scripted(() => [200, JSON_TYPE, "1"]);
  for (const amount of [NaN, Infinity, [-Infinity]]) {
    await assert.rejects(new GoVerse(peer.url).object("A", "a").call("x", { amount }), { code: "malformed_request", attempts: 0 });
  }
  assert.equal(peer.seen.length, 0);
  peer.close();
});

test("control characters of a detail stay out of the message", async () => {
  const problem = { code: "no", detail: "gone\r\n\u001b[2J\u009b\u202e\u061c forged", status: 409 };
  const peer = await scripted(() => [409, { "content-type": "application/problem+json" }, JSON.stringify(problem)]);
  await assert.rejects(new GoVerse(peer.url).object("A", "a").call("x"), (error) => {
    assert.equal(error.message, "no: gone\\u000d\\u000a\\u001b[2J\\u009b\\u202e\\u061c forged");
    return true;
  });
  peer.close();
});

test("without a key only an error that rules out an effect is retried", async () => {
  const refused = (code) => [503, { "content-type": "application/problem+json", "retry-after": "0" }, JSON.stringify({ code, retryable: true })];
  const moving = await scripted((number) => (number === 1 ? refused("moving") : [200, JSON_TYPE, "2"]));
  assert.equal(await new GoVerse(moving.url, { makeKeys: false }).object("A", "a").call("x"), 2);
  moving.close();
  const unknown = await scripted(() => refused("unavailable"));
  await assert.rejects(new GoVerse(unknown.url, { makeKeys: false }).object("A", "a").call("x"), { code: "unavailable", attempts: 1 });
  assert.equal(unknown.seen.length, 1);
  unknown.close();
});
