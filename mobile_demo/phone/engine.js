/**
 * What runs an artifact, behind one small interface: open it, load an artifact, run it, close it. onnxruntime-web
 * works in a worker (`engine_worker.js`), so that the page stays alive; another engine would be another such file.
 */
import { download } from "./download.js";
import { PageError } from "./errors.js";

/**
 * @typedef {import("./bundle.js").Site} Site
 * @typedef {import("./bundle.js").Spec} Spec
 * @typedef {{run: (input: Uint8Array | Float32Array) => Promise<{values: number[], inference_ms: number}>,
 *   close: () => void}} Session
 */

const MAX_THREADS = 4;
// (module (func (result v128) i32.const 0 i8x16.splat)): valid where WebAssembly has SIMD
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11];

/** @type {Map<string, Promise<Uint8Array<ArrayBuffer>>>} */
const compiled = new Map();

/** How many threads the engine may take here; one where the page is not isolated. */
export function threadsHere() {
  const asked = Number(new URLSearchParams(location.search).get("threads"));
  const most = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MAX_THREADS) : 1;
  return asked >= 1 && asked <= most ? Math.floor(asked) : most;
}

/**
 * The engine's file, downloaded once.
 * @param {Site} site
 * @param {(got: number) => void} [progress]
 */
export function engineFile(site, progress) {
  if (!WebAssembly.validate(new Uint8Array(SIMD))) throw new PageError("error_simd");
  const url = new URL(site.engine.wasm.file, document.baseURI).href;
  let file = compiled.get(url);
  if (!file) {
    file = download(url, site.engine.wasm, progress);
    compiled.set(url, file);
    file.catch(() => compiled.delete(url)); // so that trying again downloads again
  }
  return file;
}

/**
 * Starts a worker with the engine and loads an artifact into it.
 * @param {Site} site
 * @param {Spec} spec
 * @param {Uint8Array<ArrayBuffer>} artifact moves into the worker: a large one is not held twice
 * @param {number} [threads]
 * @returns {Promise<Session & {cold_ms: {process: number, import: number, load: number}}>} with what each step took
 * @throws {PageError} it does not fit into this phone's memory, or the engine refuses it
 */
export async function openSession(site, spec, artifact, threads = threadsHere()) {
  const wasm = await engineFile(site);
  const [started, worker] = [performance.now(), new Worker(new URL("engine_worker.js", import.meta.url), { type: "module" })];
  const ask = asker(worker);
  try {
    await ask({ what: "hello" });
    const born = performance.now();
    await ask({ what: "open", glue: new URL(site.engine.glue, document.baseURI).href, wasm, threads });
    const open = performance.now();
    await ask({ what: "load", artifact }, [artifact.buffer]);
    const cold_ms = { process: born - started, import: open - born, load: performance.now() - open };
    performance.measure("lokma-open", { start: started });
    const { name, dtype, shape } = spec.inputs[0];
    const dims = [1, ...shape.slice(1).map(Number)];
    const output = spec.outputs[0].name;
    return {
      cold_ms,
      run: (data) => ask({ what: "run", name, dtype, dims, output, data }),
      close: () => worker.terminate(),
    };
  } catch (error) {
    worker.terminate();
    throw error;
  }
}

/**
 * Questions to a worker, answered one after another.
 * @param {Worker} worker
 * @returns {(question: object, moved?: Transferable[]) => Promise<any>}
 */
function asker(worker) {
  let last = 0;
  /** @type {Map<number, {resolve: (answer: any) => void, reject: (error: unknown) => void}>} */
  const waiting = new Map();
  worker.onmessage = ({ data }) => {
    const one = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error === undefined) one?.resolve(data.answer);
    else one?.reject(isMemory(data.error) ? new PageError("error_memory") : new PageError("error_engine", { said: data.error }));
  };
  worker.onerror = (event) => {
    for (const one of waiting.values()) one.reject(new PageError("error_engine", { said: event.message || "worker" }));
    waiting.clear();
  };
  return (question, moved = []) =>
    new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      worker.postMessage({ id: last, ...question }, moved);
    });
}

/** @param {string} said by the engine */
function isMemory(said) {
  return /out of memory|bad_alloc|could not allocate|allocation failed|RangeError/i.test(said);
}
