/**
 * Measures an artifact on this phone: a cold start in a fresh worker, warm-ups until it is stable, then steady answers.
 */
import { openSession, threadsHere } from "./engine.js";
import { ask } from "./runner.js";

/**
 * @typedef {import("./bundle.js").Site} Site
 * @typedef {import("./bundle.js").Spec} Spec
 * @typedef {import("./runner.js").Stages} Stages
 * @typedef {{process: number, import: number, load: number, first: number, total: number}} Cold in ns
 * @typedef {{latency_ns: number[], stages_ns: Record<string, number>, cold_ns: Cold, warm_up: number, stable: boolean,
 *   together: number, clock_ns: number, hidden: boolean}} Measured
 */

const MIN_WARM_UP = 15;
const MAX_WARM_UP = 60;
const WINDOW = 5; // answers; two neighbouring windows must agree
const AGREE = 0.1;
const MIN_SAMPLES = 30;
const MAX_SAMPLES = 150;
const MAX_MS = 20_000; // of steady answers
const CLOCK_STEPS = 20; // a sample lasts at least so many steps of the clock

/**
 * @param {Site} site
 * @param {Spec} spec
 * @param {Uint8Array<ArrayBuffer>} artifact
 * @param {Blob | number[]} input
 * @param {(share: number) => void} [progress] from 0 to 1
 * @returns {Promise<Measured>}
 */
export async function measure(site, spec, artifact, input, progress = () => {}) {
  let hidden = document.hidden;
  const hide = () => (hidden ||= document.hidden); // a page in the background is slowed down
  document.addEventListener("visibilitychange", hide);
  const started = performance.now();
  const session = await openSession(site, spec, artifact, threadsHere());
  try {
    const first = (await ask(spec, session, input)).total_ms;
    const cold = { ...session.cold_ms, first, total: performance.now() - started };
    const warm = await warmUp(() => ask(spec, session, input), progress);
    const clock = clockStep();
    const together = Math.max(1, Math.ceil((CLOCK_STEPS * clock) / Math.max(warm.last, clock / CLOCK_STEPS)));
    /** @type {Stages[]} */
    const stages = [];
    const latencies = [];
    const end = performance.now() + MAX_MS;
    while (latencies.length < MIN_SAMPLES || (latencies.length < MAX_SAMPLES && performance.now() < end)) {
      const from = performance.now();
      for (let i = 0; i < together; i++) stages.push((await ask(spec, session, input)).ms);
      latencies.push(Math.max(1, Math.round(((performance.now() - from) / together) * 1e6)));
      progress(0.3 + (0.7 * latencies.length) / MAX_SAMPLES);
    }
    return {
      latency_ns: latencies,
      stages_ns: medians(stages),
      cold_ns: /** @type {Cold} */ (nanoseconds(cold)),
      warm_up: warm.count,
      stable: warm.stable,
      together,
      clock_ns: Math.round(clock * 1e6),
      hidden,
    };
  } finally {
    document.removeEventListener("visibilitychange", hide);
    session.close();
  }
}

/**
 * The order statistic at rank ceil(q * n), as `edge_runtime/measure.py`: a value that was measured.
 * @param {number[]} samples
 * @param {number} q
 */
export function quantile(samples, q) {
  const ordered = [...samples].sort((a, b) => a - b);
  // 0.55 * 100 is 55.00000000000001, whose ceiling would be one rank too high
  return ordered[Math.max(0, Math.ceil(Number((q * ordered.length).toFixed(9))) - 1)];
}

/**
 * Browsers compile in tiers: the first answers take several times as long.
 * @param {() => Promise<{total_ms: number}>} answer
 * @param {(share: number) => void} progress
 */
async function warmUp(answer, progress) {
  const times = [];
  let stable = false;
  while (times.length < MIN_WARM_UP || (!stable && times.length < MAX_WARM_UP)) {
    times.push((await answer()).total_ms);
    const [now, before] = [times.slice(-WINDOW), times.slice(-2 * WINDOW, -WINDOW)].map((part) => quantile(part, 0.5));
    stable = times.length >= 2 * WINDOW && Math.abs(now - before) <= AGREE * before;
    progress(Math.min(0.3, (0.3 * times.length) / MIN_WARM_UP));
  }
  return { count: times.length, stable, last: quantile(times.slice(-WINDOW), 0.5) };
}

/** The smallest step that this browser's clock takes, in ms. */
function clockStep() {
  let least = Infinity;
  for (let i = 0; i < 10; i++) {
    const from = performance.now();
    let now = from;
    while (now === from) now = performance.now();
    least = Math.min(least, now - from);
  }
  return least;
}

/** @param {Stages[]} stages */
function medians(stages) {
  const names = /** @type {(keyof Stages)[]} */ (["decode", "preprocess", "inference", "postprocess"]);
  return Object.fromEntries(names.map((name) => [name, Math.round(1e6 * quantile(stages.map((one) => one[name]), 0.5))]));
}

/** @param {Record<string, number>} milliseconds */
function nanoseconds(milliseconds) {
  return Object.fromEntries(Object.entries(milliseconds).map(([name, value]) => [name, Math.max(0, Math.round(value * 1e6))]));
}
