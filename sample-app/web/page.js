// The page of the auction house. It calls the objects over HTTP and needs no server code of its own.

const POLL_MS = 1000;
const ATTEMPTS = 10; // about twenty seconds, enough for a restart of the server
const SILENT = "The server did not respond. You can safely try again: nothing will happen twice.";

const byId = (id) => document.getElementById(id);
const euros = (cents) => (cents / 100).toFixed(2);
const cents = (text) => Math.round(Number(text) * 100);
const pause = (ms) => new Promise((wake) => setTimeout(wake, ms));
const personField = byId("person").elements.name;

// --- calls to objects -------------------------------------------------------------------------------------------------

const seen = new Map(); // path → {etag, body}, for conditional reads
const unanswered = new Map(); // path and body → key of a call without a response, which may have run

class Refusal extends Error {
  constructor({ detail, retryable = false }) {
    super(detail);
    this.retryable = retryable;
  }
}

const objectPath = (type, id) => `/objects/${type}/${encodeURIComponent(id)}`;

/** Call a method with an idempotency key. If the user repeats a call that got no response, it gets the same key. */
async function call(type, id, method, args) {
  const path = `${objectPath(type, id)}/call/${method}`;
  const body = JSON.stringify(args);
  const key = unanswered.get(path + body) ?? crypto.randomUUID();
  unanswered.set(path + body, key);
  try {
    const result = await request(path, { method: "POST", body, headers: { "Idempotency-Key": key } });
    unanswered.delete(path + body);
    return result;
  } catch (error) {
    if (error instanceof Refusal && !error.retryable) unanswered.delete(path + body);
    throw error;
  }
}

/** Send a request. Retry, with growing pauses, while the server is unreachable or its error is retryable. */
async function request(path, options, attempts = ATTEMPTS) {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(path, options);
      if (response.ok) return await response.json();
      const refusal = new Refusal(await response.json());
      if (!refusal.retryable || attempt === attempts) throw refusal;
    } catch (error) {
      if (error instanceof Refusal) throw error;
      if (attempt === attempts) throw new Error(SILENT);
    }
    await pause(Math.min(200 * 2 ** attempt, 3000));
  }
}

/** Read an object's state; null if the object does not exist. */
async function read(type, id) {
  const path = objectPath(type, id);
  const known = seen.get(path);
  const response = await fetch(path, { headers: known ? { "If-None-Match": known.etag } : {} });
  if (response.status === 304) return known.body;
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(SILENT);
  const body = await response.json();
  seen.set(path, { etag: response.headers.get("ETag"), body });
  return body;
}

// --- user actions -----------------------------------------------------------------------------------------------------

let chosen = location.hash.slice(1) || null;

function choose(id) {
  chosen = id || null;
  history.replaceState(null, "", `#${id}`);
  return refresh();
}

function person() {
  if (!personField.reportValidity()) throw new Refusal({ detail: "Enter your name first." });
  return personField.value.trim();
}

/** Run the action of a form or button, with the button disabled, and show the outcome. */
async function perform(button, action) {
  button.disabled = true;
  try {
    tell(await action());
  } catch (error) {
    tell(error.message, "bad");
  } finally {
    button.disabled = false;
  }
  await refresh();
}

function onSubmit(form, action) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    perform(event.submitter ?? form.querySelector("button"), () => action(form.elements));
  });
}

onSubmit(byId("person"), async (fields) => {
  const name = person();
  localStorage.setItem("name", name);
  if (!fields.amount.value) return `Hello, ${name}.`;
  const amount = cents(fields.amount.value);
  await call("Wallet", name, "deposit", { amount });
  fields.amount.value = "";
  return `${euros(amount)} deposited.`;
});

onSubmit(byId("sell"), async (fields) => {
  const id = crypto.randomUUID();
  const lot = {
    title: fields.title.value.trim(),
    seller: person(),
    starting_price: cents(fields.start.value),
    reserve: cents(fields.reserve.value),
    lasts_s: Math.round(60 * Number(fields.minutes.value)),
  };
  await request(objectPath("Auction", id), { method: "PUT", body: JSON.stringify(lot) });
  fields.title.value = "";
  await choose(id);
  return `${lot.title} is open for bids.`;
});

onSubmit(byId("bid"), async (fields) => {
  const [auction, bidder] = [chosen, person()];
  const bid = await call("Auction", auction, "bid", { bidder, amount: cents(fields.amount.value) });
  fields.amount.value = "";
  return `Your bid of ${euros(bid.amount)} is in.`;
});

byId("close").addEventListener("click", ({ target }) =>
  perform(target, async () => {
    const { winner, price } = await call("Auction", chosen, "close", {});
    return winner ? `Sold to ${winner} for ${euros(price)}.` : "Closed without a sale.";
  }),
);

personField.addEventListener("change", () => {
  localStorage.setItem("name", personField.value.trim());
  refresh();
});

window.addEventListener("hashchange", () => choose(location.hash.slice(1)));

// --- display ----------------------------------------------------------------------------------------------------------

function tell(text, kind = "good") {
  const notice = byId("notice");
  notice.textContent = text;
  notice.className = kind;
  notice.hidden = false;
}

const drawn = new Map();

/** Redraw a part of the page only if its data changed, so that polling keeps focus and selection. */
function redraw(part, data, draw) {
  const text = JSON.stringify(data);
  if (drawn.get(part) === text) return;
  drawn.set(part, text);
  draw(data);
}

function drawLots({ lots, current }) {
  const focused = document.activeElement?.dataset.auction;
  byId("empty").hidden = lots.length > 0;
  byId("lots").replaceChildren(
    ...lots.map((lot) => {
      const price = document.createElement("small");
      price.textContent = `${euros(lot.price)} · ${lot.bids} ${lot.bids === 1 ? "bid" : "bids"}`;
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.auction = lot.auction;
      button.setAttribute("aria-current", String(lot.auction === current));
      button.append(lot.title, price);
      button.addEventListener("click", () => choose(lot.auction));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
  if (focused) byId("lots").querySelector(`[data-auction="${CSS.escape(focused)}"]`)?.focus();
}

function standing(auction, name) {
  const leads = auction.bids.at(-1)?.bidder === name;
  const took = auction.bids.some((bid) => bid.bidder === name);
  if (auction.outcome !== null) return auction.outcome.winner === name ? "You won." : "";
  return leads ? "You lead." : took ? "You were outbid." : "";
}

function drawAuction({ auction, name }) {
  byId("auction").hidden = auction === null;
  if (auction === null) return;
  const { outcome, bids } = auction;
  const sold = outcome?.winner ? `sold to ${outcome.winner} for ${euros(outcome.price)}` : "closed without a sale";
  const end = auction.ends && new Date(auction.ends).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const open = end ? `open until ${end}` : "open";
  const state = outcome === null ? open : sold;
  const lowest = Math.max(auction.starting_price, (bids.at(-1)?.amount ?? 0) + 1);
  byId("auction-title").textContent = auction.title;
  byId("summary").textContent = `Sold by ${auction.seller}, from ${euros(auction.starting_price)} · ${state}`;
  byId("standing").textContent = standing(auction, name);
  byId("bid").hidden = outcome !== null || auction.seller === name;
  byId("bid").elements.amount.placeholder = euros(lowest);
  byId("close").hidden = outcome !== null || auction.seller !== name;
  byId("no-bids").hidden = bids.length > 0;
  byId("bids").replaceChildren(
    ...bids.slice(-20).reverse().map((bid) => {
      const when = document.createElement("time");
      when.dateTime = bid.at;
      when.textContent = new Date(bid.at).toLocaleTimeString();
      const item = document.createElement("li");
      item.append(`${euros(bid.amount)} by ${bid.bidder} `, when);
      return item;
    }),
  );
}

function drawMoney(wallet) {
  const held = Object.values(wallet?.holds ?? {}).reduce((sum, amount) => sum + amount, 0);
  byId("money").textContent = `${euros((wallet?.balance_cents ?? 0) - held)} free, ${euros(held)} held`;
}

let asked = 0;

/** Read and draw everything. If several refreshes overlap, only the newest one draws. */
async function refresh() {
  const question = ++asked;
  const [name, current] = [personField.value.trim(), chosen];
  try {
    const [catalogue, auction, wallet] = await Promise.all([
      read("Catalogue", "main"),
      current ? read("Auction", current) : null,
      name ? read("Wallet", name) : null,
    ]);
    if (question !== asked) return;
    const lots = Object.values(catalogue?.lots ?? {}).sort((a, b) => a.title.localeCompare(b.title));
    redraw("lots", { lots, current }, drawLots);
    redraw("auction", { auction, name }, drawAuction);
    redraw("money", wallet, drawMoney);
    byId("offline").hidden = true;
  } catch {
    byId("offline").hidden = false;
  }
}

personField.value = localStorage.getItem("name") ?? "";
for (;;) {
  await refresh();
  await pause(POLL_MS);
}
