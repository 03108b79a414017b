/**
 * The service worker: keeps the page, so that it opens without a network, and adds the headers that threads need on
 * hosts that cannot send them. `kept.js` lists the files with their hashes: a new list is a new version.
 */
importScripts("kept.js");

const worker = /** @type {any} */ (self);
const { version, files } = worker.KEPT;
const PAGE = `lokma-page-${version}`;
const BUNDLES = "lokma-bundles";
const ROOT = new URL("./", worker.location.href).href;
const HEADERS = {
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
};

worker.addEventListener("install", (/** @type {any} */ event) => {
  event.waitUntil(keepAll(PAGE, ["./", ...Object.keys(files).filter((name) => name !== "index.html")]));
});

worker.addEventListener("activate", (/** @type {any} */ event) => {
  const old = (/** @type {string} */ name) => name.startsWith("lokma-page-") && name !== PAGE;
  event.waitUntil(caches.keys().then((names) => Promise.all(names.filter(old).map((name) => caches.delete(name)))));
});

// The page says which files of its bundle it used, and when to change to a new version.
worker.addEventListener("message", (/** @type {any} */ event) => {
  if (event.data.change) worker.skipWaiting();
  if (event.data.keep) event.waitUntil(keepAll(BUNDLES, event.data.keep));
});

worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const { request } = event;
  if (request.method === "GET" && request.url.startsWith(ROOT)) event.respondWith(answer(request));
});

/** @param {Request} request */
async function answer(request) {
  const url = request.url.split(/[?#]/)[0];
  const name = url.slice(ROOT.length);
  const found = await (name.startsWith("bundles/") ? fromBundle(request, url) : fromPage(request, name));
  return withHeaders(found);
}

/** The page's own files come from where they are kept: one version, never a mixture. @param {Request} request @param {string} name */
async function fromPage(request, name) {
  const kept = await caches.open(PAGE);
  return (await kept.match(name === "" || name === "index.html" ? ROOT : ROOT + name)) ?? fetch(request);
}

/** A bundle's files: the manifest as it is now where there is a network; the page hashes all others itself. @param {Request} request @param {string} url */
async function fromBundle(request, url) {
  const kept = await caches.open(BUNDLES);
  const asked = url.endsWith("/manifest.json") || request.cache === "reload";
  const known = await kept.match(url);
  if (known && !asked) return known;
  try {
    const answer = await fetch(request);
    if (answer.status === 200) await kept.put(url, answer.clone());
    return answer;
  } catch (error) {
    if (known) return known;
    throw error;
  }
}

/** @param {string} cache @param {string[]} names */
async function keepAll(cache, names) {
  const kept = await caches.open(cache);
  await kept.addAll(names.map((name) => new Request(new URL(name, ROOT).href, { cache: "no-cache" })));
}

/** @param {Response} answer */
function withHeaders(answer) {
  if (answer.type === "opaque" || answer.status === 0) return answer;
  const headers = new Headers(answer.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  const empty = [101, 204, 205, 304].includes(answer.status);
  return new Response(empty ? null : answer.body, { status: answer.status, statusText: answer.statusText, headers });
}
