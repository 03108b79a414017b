/**
 * Records in the common schema (`benchmarks/results.py`): of a speed test, and of an answer to *was it right?*.
 */
import { threadsHere } from "./engine.js";
import { quantile } from "./speed.js";
import { keep, kept } from "./words.js";

/**
 * @typedef {import("./bundle.js").Bundle} Bundle
 * @typedef {import("./bundle.js").Artifact} Artifact
 * @typedef {import("./bundle.js").Site} Site
 * @typedef {import("./speed.js").Measured} Measured
 * @typedef {Record<string, unknown> & {id: string}} PhoneRecord
 */

const SCHEMA_VERSION = 1;

/**
 * @param {Site} site
 * @param {Bundle} bundle
 * @param {Artifact} artifact
 * @param {Measured} measured
 * @param {{phone: string, run: string}} said the phone's model as its owner typed it, and the id of this test
 * @returns {PhoneRecord}
 */
export function benchRecord(site, bundle, artifact, measured, { phone, run }) {
  const flags = [];
  if (!measured.stable) flags.push("the warm-up did not become stable");
  if (measured.hidden) flags.push("the page was in the background for a while");
  const notes = ["measured in a browser by the phone page", `its clock moves in steps of ${measured.clock_ns} ns`];
  if (measured.together > 1) notes.push(`each latency is the mean of ${measured.together} answers, for the clock's sake`);
  return {
    ...common(site, bundle, artifact, phone),
    kind: "bench",
    scenario: {
      name: "SingleStream",
      run,
      threads: threadsHere(),
      passes: 1,
      inputs_a_pass: measured.latency_ns.length,
      block: 10,
      warm_up: measured.warm_up,
    },
    latency_ns: measured.latency_ns,
    n: measured.latency_ns.length,
    p50_ns: quantile(measured.latency_ns, 0.5),
    p90_ns: quantile(measured.latency_ns, 0.9),
    stages_ns: measured.stages_ns,
    cold_start_ns: [measured.cold_ns],
    cold_start_p50_ns: measured.cold_ns,
    peak_rss_bytes: null,
    energy_joules: null,
    accuracy: null,
    validity: { valid: true, flags },
    null_reasons: {
      peak_rss_bytes: "a browser does not say it",
      energy_joules: "a browser does not say it",
      accuracy: "the phone has no labelled data",
    },
    notes,
  };
}

/**
 * @param {Site} site
 * @param {Bundle} bundle
 * @param {Artifact} artifact
 * @param {{predicted: string, actual: string | null, right: boolean, probability: number | null}} answer
 * @returns {PhoneRecord}
 */
export function fieldRecord(site, bundle, artifact, answer) {
  return {
    ...common(site, bundle, artifact, kept("phone") || system()),
    kind: "field",
    scenario: { name: "field" },
    latency_ns: [],
    n: 0,
    p50_ns: null,
    p90_ns: null,
    answer,
    validity: { valid: true, flags: [] },
    notes: [],
  };
}

/** An id of 32 hexadecimal digits. @param {number} [digits] */
export function randomId(digits = 32) {
  const bytes = crypto.getRandomValues(new Uint8Array(digits / 2));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {Site} site
 * @param {Bundle} bundle
 * @param {Artifact} artifact
 * @param {string} phone
 */
function common(site, bundle, artifact, phone) {
  const memory = /** @type {any} */ (navigator).deviceMemory;
  return {
    schema_version: SCHEMA_VERSION,
    id: `phone-${randomId()}`,
    time: new Date().toISOString().replace(/\.\d+Z$/, "+00:00"),
    target: "phone",
    bundle: { name: bundle.name, version: bundle.version, task: bundle.spec.task, sha256: bundle.sha256 },
    artifact: {
      id: artifact.id,
      engine: "onnxruntime-web",
      precision: artifact.precision,
      sha256: artifact.sha256,
      size_bytes: artifact.size_bytes,
    },
    host: {
      fingerprint: fingerprint(),
      cpu: phone,
      cores: navigator.hardwareConcurrency || 1,
      memory_bytes: memory ? memory * 2 ** 30 : null,
      system: system(),
    },
    versions: { "onnxruntime-web": site.engine.version, user_agent: navigator.userAgent.slice(0, 300), lokma: site.lokma },
  };
}

/** A number of this browser's own, so that its records belong together; it says nothing else. */
function fingerprint() {
  const known = kept("fingerprint");
  if (known && /^[0-9a-f]{12}$/.test(known)) return known;
  const made = randomId(12);
  keep("fingerprint", made);
  return made;
}

function system() {
  return /** @type {any} */ (navigator).userAgentData?.platform || navigator.platform || "unknown";
}
