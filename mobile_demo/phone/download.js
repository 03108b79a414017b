/**
 * A file from the page's own host, whole and unaltered: a download that was cut goes on where it stopped where the host
 * knows ranges, begins anew where it does not, and is hashed at its end.
 */
import { PageError } from "./errors.js";
import { sha256 } from "./sha256.js";

const TRIES = 6;
const FIRST_PAUSE_MS = 300;

/**
 * @param {string} url
 * @param {{size_bytes: number, sha256: string}} wanted
 * @param {(got: number) => void} [progress] is told how many bytes are here
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 * @throws {PageError} it is not there, too long, altered, or stays cut
 */
export async function download(url, wanted, progress = () => {}) {
  for (const cache of /** @type {RequestCache[]} */ (["default", "reload"])) {
    const data = await whole(url, wanted.size_bytes, cache, progress);
    if ((await sha256(data)) === wanted.sha256) return data;
  }
  throw new PageError("error_altered", { file: nameOf(url) });
}

/**
 * @param {string} url
 * @param {number} size
 * @param {RequestCache} cache
 * @param {(got: number) => void} progress
 */
async function whole(url, size, cache, progress) {
  const data = new Uint8Array(size);
  let got = 0;
  for (let tried = 0; got < size && tried < TRIES; tried++) {
    if (tried) await new Promise((go) => setTimeout(go, FIRST_PAUSE_MS * 2 ** (tried - 1)));
    try {
      const answer = await fetch(url, { cache, headers: got ? { Range: `bytes=${got}-` } : {} });
      if (answer.status === 404) throw new PageError("error_not_there", { file: nameOf(url) });
      if (!answer.ok || !answer.body) continue;
      if (!continues(answer, got)) got = 0;
      const before = got;
      for (const reader = answer.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        if (got + value.length > size) throw new PageError("error_altered", { file: nameOf(url) });
        data.set(value, got);
        got += value.length;
        progress(got);
      }
      if (got > before) tried = 0; // what moves is not given up
    } catch (error) {
      if (error instanceof PageError) throw error; // anything else is a connection that broke
    }
  }
  if (got < size) throw new PageError("error_cut", { file: nameOf(url) });
  return data;
}

/** Whether an answer goes on where the last one was cut. @param {Response} answer @param {number} got */
function continues(answer, got) {
  return answer.status === 206 && (answer.headers.get("Content-Range") ?? "").startsWith(`bytes ${got}-`);
}

/** @param {string} url */
function nameOf(url) {
  return new URL(url).pathname.split("/").pop() ?? url;
}
