/**
 * A bundle as the page reads it: the same manifest that every device reads, and those artifacts that a browser runs.
 * Reading one is reading a stranger's file: what is not as it should be is refused with a sentence.
 */
import { download } from "./download.js";
import { PageError } from "./errors.js";
import { sha256 } from "./sha256.js";

/**
 * @typedef {{id: string, en: string, tr: string}} Label
 * @typedef {{name: string, dtype: string, shape: (number | string)[], unit: string}} Tensor
 * @typedef {{resize: number, crop: number, filter: string}} ImageSpec
 * @typedef {{name: string, task: string, inputs: Tensor[], outputs: Tensor[], labels: Label[], image: ImageSpec | null,
 *   columns: string[], unsure_below?: number | null}} Spec
 * @typedef {{id: string, file: string, engine: string, precision: string, sha256: string, size_bytes: number,
 *   accuracy?: {metric: string, value: number, n: number, text: string},
 *   verdict?: {accuracy?: {answer?: string}} | null}} Artifact
 * @typedef {{file: string, sha256: string, size_bytes: number}} Stored
 * @typedef {{id: string, reference: number[], outputs: Record<string, number[]>, tensor?: Stored | null, input?: number[],
 *   file?: string, sha256?: string, size_bytes?: number}} Golden
 * @typedef {{name: string, version: number, sha256: string, base: string, spec: Spec, artifacts: Artifact[],
 *   golden: Golden[]}} Bundle
 * @typedef {{lokma: string, schema_version: number, bundles: string[], collector: string | null,
 *   samples: {file: string, source: string, licence: string, address: string}[],
 *   engine: {glue: string, version: string, wasm: Stored}, tolerance: Record<string, number>, rounding: number,
 *   ask_above_bytes: number}} Site
 */

const RUNS = "onnxruntime";
const DTYPES = ["uint8", "float32", "int32", "int64"];
const TASKS = ["binary", "multiclass", "multilabel", "regression", "policy"];
const MAX_MANIFEST_BYTES = 4 << 20;

/**
 * @param {string} base the bundle's folder, with a slash at its end
 * @param {Site} site
 * @returns {Promise<Bundle>}
 * @throws {PageError} it is not there, not a bundle, or for a newer lokma
 */
export async function openBundle(base, site) {
  const bytes = await fetched(new URL("manifest.json", base).href);
  /** @type {any} */
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new PageError("error_manifest", {}, error);
  }
  if (manifest?.schema_version !== site.schema_version || isNewer(manifest.needs_runtime, site.lokma)) {
    throw new PageError("error_newer", { needs: text(manifest?.needs_runtime), here: site.lokma });
  }
  const spec = specOf(manifest.spec);
  /** @type {any[]} */
  const all = Array.isArray(manifest.artifacts) ? manifest.artifacts : [];
  const artifacts = all.filter((one) => one?.engine === RUNS);
  /** @type {any[]} */
  const golden = Array.isArray(manifest.golden) ? manifest.golden : [];
  const stored = [...artifacts, ...golden.flatMap((one) => [one, one?.tensor]).filter((one) => one?.file !== undefined)];
  if (!spec || !isText(manifest.name) || !Number.isInteger(manifest.version) || !stored.every(isStored)) {
    throw new PageError("error_manifest");
  }
  if (!artifacts.length) throw new PageError("error_no_artifact");
  return { name: manifest.name, version: manifest.version, sha256: await sha256(bytes), base, spec, artifacts, golden };
}

/**
 * An artifact's bytes.
 * @param {Bundle} bundle
 * @param {Stored} file
 * @param {(got: number) => void} [progress]
 */
export function content(bundle, file, progress) {
  return download(new URL(file.file, bundle.base).href, file, progress);
}

/**
 * The artifact that a phone starts with: int8 where the verdict on it did not fail, for a quarter of the download.
 * @param {Bundle} bundle
 * @returns {Artifact}
 */
export function firstChoice(bundle) {
  const kept = bundle.artifacts.filter((one) => one.verdict?.accuracy?.answer !== "fail"); // --keep-failed ships those
  return kept.find((one) => one.precision === "int8") ?? kept[0] ?? bundle.artifacts[0];
}

/** @param {string} url @returns {Promise<Uint8Array<ArrayBuffer>>} */
async function fetched(url) {
  let answer;
  try {
    answer = await fetch(url, { cache: "no-cache" });
  } catch (error) {
    throw new PageError("error_network", {}, error);
  }
  if (!answer.ok) throw new PageError("error_not_there", { file: "manifest.json" });
  const bytes = new Uint8Array(await answer.arrayBuffer());
  if (bytes.length > MAX_MANIFEST_BYTES) throw new PageError("error_manifest");
  return bytes;
}

/** @param {any} spec @returns {Spec | null} what the page can act on, else null */
function specOf(spec) {
  const [input, output] = [spec?.inputs?.[0], spec?.outputs?.[0]];
  const labels = Array.isArray(spec?.labels) ? spec.labels : [];
  const good =
    TASKS.includes(spec?.task) &&
    [input, output].every((one) => isText(one?.name) && DTYPES.includes(one?.dtype) && Array.isArray(one?.shape)) &&
    input.shape.slice(1).every((/** @type {unknown} */ size) => Number.isInteger(size)) &&
    labels.every((/** @type {any} */ one) => isText(one?.id) && isText(one?.en) && isText(one?.tr)) &&
    (spec.image ? isImage(spec.image, input) : input.dtype === "float32");
  return good ? { ...spec, labels, image: spec.image ?? null, columns: spec.columns ?? [] } : null;
}

/** @param {any} image @param {Tensor} input */
function isImage(image, input) {
  const sizes = Number.isInteger(image.crop) && Number.isInteger(image.resize) && image.crop > 0;
  const fits = sizes && image.crop <= image.resize && image.resize <= 4096 && input.dtype === "uint8";
  return fits && String(input.shape.slice(1)) === String([image.crop, image.crop, 3]);
}

/** @param {any} one */
function isStored(one) {
  const safe = isText(one?.file) && !/(^|\/)\.\.(\/|$)|^\/|[\\:]/.test(one.file);
  return safe && /^[0-9a-f]{64}$/.test(one.sha256) && Number.isInteger(one.size_bytes) && one.size_bytes > 0;
}

/** @param {unknown} value @returns {value is string} */
function isText(value) {
  return typeof value === "string" && value.length > 0 && value.length <= 200 && !/\p{Cc}/u.test(value);
}

/** @param {unknown} value */
function text(value) {
  return isText(value) ? value : "?";
}

/** Whether version `needs` is above `here`. @param {unknown} needs @param {string} here */
function isNewer(needs, here) {
  if (typeof needs !== "string" || !/^\d{1,6}\.\d{1,6}\.\d{1,6}$/.test(needs)) return true;
  const [wanted, have] = [needs, here].map((version) => version.split(".").map(Number));
  const at = wanted.findIndex((number, index) => number !== have[index]);
  return at >= 0 && wanted[at] > have[at];
}
