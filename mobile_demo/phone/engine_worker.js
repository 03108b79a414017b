/**
 * The worker in which onnxruntime-web runs: answers `hello`, `open`, `load` and `run`, one after another.
 */

/** @type {any} */
let ort;
/** @type {any} */
let session;

/** @type {Record<string, (question: any) => Promise<any>>} */
const ANSWERS = {
  async hello() {},

  async open({ glue, wasm, threads }) {
    ort = await import(glue);
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.wasmBinary = await inflated(wasm);
    ort.env.logLevel = "error";
  },

  async load({ artifact }) {
    session = await ort.InferenceSession.create(artifact, { executionProviders: ["wasm"] });
  },

  async run({ name, dtype, dims, output, data }) {
    const started = performance.now();
    const found = await session.run({ [name]: new ort.Tensor(dtype, data, dims) }, [output]);
    return { values: Array.from(found[output].data), inference_ms: performance.now() - started };
  },
};

/** A host may have unpacked the file on its way. @param {Uint8Array<ArrayBuffer>} data */
async function inflated(data) {
  const zipped = data[0] === 0x1f && data[1] === 0x8b;
  if (!zipped) return data;
  return new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

let queue = Promise.resolve();
onmessage = ({ data }) => {
  queue = queue.then(async () => {
    try {
      postMessage({ id: data.id, answer: await ANSWERS[data.what](data) });
    } catch (error) {
      postMessage({ id: data.id, error: String(error instanceof Error ? `${error.name}: ${error.message}` : error) });
    }
  });
};
