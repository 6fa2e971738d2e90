/** Detection of integers that JavaScript cannot represent. `JSON.parse` rounds them silently. */

const QUOTE = 0x22;
const ZERO = 0x30;
const NINE = 0x39;

/** Return the first integer in a JSON text that `JSON.parse` would round. Integers of at most 15 digits are always exact. */
export function roundedInteger(text: string): string | undefined {
  if (!/\d{16}/.test(text)) return undefined;
  const number = /[\d.eE+-]+/y;
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charCodeAt(at);
    if (char === QUOTE) at = endOfString(text, at);
    else if (char >= ZERO && char <= NINE) {
      number.lastIndex = at;
      const digits = number.exec(text)?.[0] ?? "";
      if (/^\d{16,}$/.test(digits) && !isExact(digits)) return digits;
      at += digits.length - 1;
    }
  }
  return undefined;
}

function isExact(digits: string): boolean {
  const value = Number(digits);
  return Number.isFinite(value) && BigInt(value) === BigInt(digits);
}

/** Return the end of the string that begins at `start`: the next quote with an even number of backslashes before it. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text[before] === "\\") before -= 1;
    if ((end - before) % 2 === 1) return end;
  }
  return text.length;
}
