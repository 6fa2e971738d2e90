// The page of the auction house. It speaks plain HTTP to the objects; there is no server code of its own.

const POLL_MS = 1000;
const byId = (id) => document.getElementById(id);
const euros = (cents) => (cents / 100).toFixed(2);
const cents = (text) => Math.round(Number(text) * 100);

let chosen = location.hash.slice(1) || null;
const seen = new Map(); // path → {etag, body}: an unchanged object is not sent again

class Refusal extends Error {}

/** Call a method. The key makes a retry after a lost answer harmless: the call runs once. */
async function call(type, id, method, args) {
  const key = crypto.randomUUID();
  const path = `/objects/${type}/${encodeURIComponent(id)}/call/${method}`;
  return request(path, { method: "POST", body: JSON.stringify(args), headers: { "Idempotency-Key": key } });
}

async function request(path, options, attempts = 5) {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(path, options);
      if (response.ok) return response.status === 204 ? null : await response.json();
      const problem = await response.json();
      if (!problem.retryable || attempt === attempts) throw new Refusal(problem.detail);
    } catch (error) {
      if (error instanceof Refusal || attempt === attempts) throw error;
    }
    await new Promise((wake) => setTimeout(wake, 200 * 2 ** attempt));
  }
}

/** Read an object's state; null when it does not exist. */
async function read(type, id) {
  const path = `/objects/${type}/${encodeURIComponent(id)}`;
  const known = seen.get(path);
  const response = await fetch(path, { headers: known ? { "If-None-Match": known.etag } : {} });
  if (response.status === 304) return known.body;
  if (!response.ok) return null;
  const body = await response.json();
  seen.set(path, { etag: response.headers.get("ETag"), body });
  return body;
}

function tell(text, bad = false) {
  const notice = byId("notice");
  notice.textContent = text;
  notice.className = bad ? "bad" : "";
  notice.hidden = false;
}

function person() {
  const name = byId("person").elements.name;
  if (!name.reportValidity()) throw new Refusal("Say who you are first.");
  return name.value.trim();
}

/** Run what a form asks for, once at a time, and say how it went. */
function onSubmit(form, action) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = event.submitter;
    button.disabled = true;
    try {
      tell(await action(form.elements));
      await refresh();
    } catch (error) {
      tell(error.message, true);
    } finally {
      button.disabled = false;
    }
  });
}

onSubmit(byId("person"), async (fields) => {
  if (!fields.amount.value) return `Hello, ${person()}.`;
  const amount = cents(fields.amount.value);
  await call("Wallet", person(), "deposit", { amount });
  fields.amount.value = "";
  return `${euros(amount)} deposited.`;
});

onSubmit(byId("sell"), async (fields) => {
  const id = crypto.randomUUID();
  const lot = { title: fields.title.value.trim(), seller: person(), starting_price: cents(fields.start.value), reserve: cents(fields.reserve.value || 0) };
  await request(`/objects/Auction/${id}`, { method: "PUT", body: JSON.stringify(lot) });
  choose(id);
  fields.title.value = "";
  return `${lot.title} is open for bids.`;
});

onSubmit(byId("bid"), async (fields) => {
  const bid = await call("Auction", chosen, "bid", { bidder: person(), amount: cents(fields.amount.value) });
  fields.amount.value = "";
  return `You lead with ${euros(bid.amount)}.`;
});

byId("close").addEventListener("click", async () => {
  try {
    const outcome = await call("Auction", chosen, "close", {});
    tell(outcome.winner ? `Sold to ${outcome.winner} for ${euros(outcome.price)}.` : "Closed without a sale.");
    await refresh();
  } catch (error) {
    tell(error.message, true);
  }
});

byId("person").elements.name.addEventListener("change", () => {
  localStorage.setItem("name", person());
  refresh();
});

function choose(id) {
  chosen = id;
  history.replaceState(null, "", `#${id}`);
  refresh();
}

function showLots(lots) {
  byId("empty").hidden = lots.length > 0;
  byId("lots").replaceChildren(...lots.map((lot) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-current", String(lot.auction === chosen));
    button.append(lot.title);
    const price = document.createElement("small");
    price.textContent = `${euros(lot.price)} · ${lot.bids} bids`;
    button.append(price);
    button.addEventListener("click", () => choose(lot.auction));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

function showAuction(auction) {
  byId("auction").hidden = auction === null;
  if (auction === null) return;
  byId("auction-title").textContent = auction.title;
  const { outcome } = auction;
  const ended = outcome?.winner ? `sold to ${outcome.winner} for ${euros(outcome.price)}` : "closed without a sale";
  byId("summary").textContent = `Sold by ${auction.seller}, from ${euros(auction.starting_price)} · ${auction.status === "open" ? "open" : ended}`;
  byId("bid").hidden = auction.status !== "open";
  byId("bids").replaceChildren(...auction.bids.slice(-20).reverse().map((bid) => {
    const item = document.createElement("li");
    const when = document.createElement("time");
    when.dateTime = bid.at;
    when.textContent = new Date(bid.at).toLocaleTimeString();
    item.append(`${euros(bid.amount)} by ${bid.bidder} `, when);
    return item;
  }));
}

function showMoney(wallet) {
  const held = Object.values(wallet?.holds ?? {}).reduce((sum, amount) => sum + amount, 0);
  const balance = wallet?.balance_cents ?? 0;
  byId("money").textContent = `${euros(balance - held)} free, ${euros(held)} held`;
}

async function refresh() {
  const name = byId("person").elements.name.value.trim();
  try {
    const [catalogue, auction, wallet] = await Promise.all([
      read("Catalogue", "main"), chosen && read("Auction", chosen), name ? read("Wallet", name) : null,
    ]);
    showLots(Object.values(catalogue?.lots ?? {}).sort((a, b) => a.title.localeCompare(b.title)));
    showAuction(auction || null);
    showMoney(wallet);
    document.documentElement.dataset.fresh = String(Date.now());
  } catch {
    tell("The server does not answer; the page goes on trying.", true);
  }
}

byId("person").elements.name.value = localStorage.getItem("name") ?? "";
window.addEventListener("hashchange", () => choose(location.hash.slice(1)));
await refresh();
setInterval(refresh, POLL_MS);
