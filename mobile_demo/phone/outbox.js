/**
 * What the page has to say to the collector. It waits here until somebody takes it: sent twice, a record is kept once.
 * Where there is no collector, or it does not answer, the records can be saved to a file that the dashboard accepts.
 */
import { keep, kept } from "./words.js";

/** @typedef {import("./record.js").PhoneRecord} PhoneRecord */

const MAX_WAITING = 100;

/** The token of the QR code, which came behind the address's `#` and is kept, for a page that was installed. */
export function takeToken() {
  const found = /[#&]token=([\w-]{1,100})/.exec(location.hash);
  if (found) {
    keep("token", found[1]);
    history.replaceState(null, "", location.pathname + location.search);
  }
}

/** @returns {PhoneRecord[]} */
export function waiting() {
  try {
    const found = JSON.parse(kept("outbox") ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

/** @param {PhoneRecord[]} records */
export function put(records) {
  keep("outbox", JSON.stringify([...waiting(), ...records].slice(-MAX_WAITING)));
}

/**
 * Sends what waits.
 * @param {string | null} collector its address, relative to the page
 * @returns {Promise<"sent" | "kept" | "refused" | "empty">} refused: the token is wrong, or the records are
 */
export async function send(collector) {
  const records = waiting();
  if (!records.length) return "empty";
  if (!collector || !kept("token")) return "kept";
  let refused = false;
  for (const record of records) {
    let answer;
    try {
      answer = await fetch(collector, {
        method: "POST",
        headers: { Authorization: `Bearer ${kept("token")}`, "Content-Type": "application/json" },
        body: JSON.stringify(record),
      });
    } catch {
      return "kept";
    }
    if (answer.status === 401 || answer.status >= 500) return answer.status === 401 ? "refused" : "kept";
    refused ||= !answer.ok;
    keep("outbox", JSON.stringify(waiting().filter((one) => one.id !== record.id)));
  }
  return refused ? "refused" : "sent";
}

/** What waits, as a file: a record a line. It waits on until it was sent. */
export function asFile() {
  const lines = waiting().map((record) => JSON.stringify(record) + "\n");
  return new File(lines, `lokma-phone-${new Date().toISOString().slice(0, 10)}.jsonl`, { type: "application/jsonl" });
}
