// Checked, never run: what a type checker knows with the types of the sample application's document.
import { GoVerse } from "@goverse/client";

import type { paths } from "./paths";

export async function use(): Promise<void> {
  const gv = new GoVerse<paths>("http://localhost:8000");
  const value: number = await gv.object("Counter", "c1").call("increment", { by: 2 });
  const same: number = await gv.object("Counter", "c1").call("increment");
  const title: string = (await gv.object("Auction", "a").get()).title;
  const free: number = (await gv.object("Wallet", "w").call("deposit", { amount: value + same })).free;
  const bids: { bidder: string }[] = await gv.object("Auction", "a").call("history");
  await gv.object("Auction", "b").createNew({ title, seller: `${free} ${bids.length}` });

  // @ts-expect-error an argument of another type
  await gv.object("Counter", "c1").call("increment", { by: "two" });
  // @ts-expect-error no such method
  await gv.object("Counter", "c1").call("decrement");
  // @ts-expect-error a required argument is missing
  await gv.object("Wallet", "w").call("deposit");
  // @ts-expect-error no such argument
  await gv.object("Wallet", "w").call("statement", { since: 1 });
  // @ts-expect-error no such type
  gv.object("Wallett", "w");
  // @ts-expect-error the result is a number
  const wrong: string = await gv.object("Counter", "c1").call("increment");
  console.log(wrong);
}

export async function useAnything(): Promise<void> {
  const gv = new GoVerse("http://localhost:8000");
  const result: number[] = await gv.object("Whatever", "x").call("method", { any: { json: true } });
  console.log(result);
}
