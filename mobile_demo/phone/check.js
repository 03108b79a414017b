/**
 * Proves that the bundle answers here as it did where it was exported: every golden case, from raw input to answer and
 * from tensor to tensor, with the bounds of `edge_runtime/check.py` (they come in `site.json`).
 */
import { best } from "./answer.js";
import { content } from "./bundle.js";
import { ask, tensorOf } from "./runner.js";
import { decode } from "./picture.js";
import { rgbOf } from "./resize.js";

/**
 * @typedef {import("./bundle.js").Bundle} Bundle
 * @typedef {import("./bundle.js").Artifact} Artifact
 * @typedef {import("./bundle.js").Golden} Golden
 * @typedef {import("./bundle.js").Site} Site
 * @typedef {import("./engine.js").Session} Session
 * @typedef {{ok: boolean, cases: number, raw: number, tensor: number | null, pixels: number | null}} Finding
 *   the largest differences: of the answers (relative), and of the pixels (levels of 255)
 */

/**
 * @param {Site} site
 * @param {Bundle} bundle
 * @param {Artifact} artifact
 * @param {Session} session
 * @returns {Promise<Finding>}
 */
export async function check(site, bundle, artifact, session) {
  const allowed = site.tolerance[artifact.precision];
  /** @type {Finding} */
  const found = { ok: allowed !== undefined, cases: 0, raw: 0, tensor: null, pixels: null };
  for (const golden of bundle.golden) {
    const stored = golden.outputs?.[artifact.id];
    if (!stored) continue;
    found.cases += 1;
    const input = golden.file ? await blob(bundle, golden) : /** @type {number[]} */ (golden.input);
    const { values } = await ask(bundle.spec, session, input);
    found.raw = Math.max(found.raw, difference(values, stored, site.rounding));
    found.ok &&= agrees(values, stored, allowed, site.rounding);
    if (golden.tensor && input instanceof Blob) {
      const wanted = rgbOf(await decode(await blob(bundle, golden.tensor))); // it is what goes in
      const got = tensorOf(bundle.spec, await decode(input));
      found.pixels = Math.max(found.pixels ?? 0, furthest(got, wanted));
      const fromTensor = (await session.run(wanted)).values;
      found.tensor = Math.max(found.tensor ?? 0, difference(fromTensor, stored, site.rounding));
      found.ok &&= agrees(fromTensor, stored, allowed, site.rounding);
    }
  }
  found.ok &&= found.cases > 0;
  return found;
}

/**
 * A golden case's file.
 * @param {Bundle} bundle
 * @param {import("./bundle.js").Stored | Golden} file
 */
export async function blob(bundle, file) {
  return new Blob([await content(bundle, /** @type {import("./bundle.js").Stored} */ (file))]);
}

/**
 * The largest difference relative to the largest stored value.
 * @param {number[]} got
 * @param {number[]} stored
 * @param {number} rounding what sums in another order may move a value near 0
 */
export function difference(got, stored, rounding) {
  if (got.length !== stored.length || !got.every(Number.isFinite)) return Infinity;
  return Math.max(0, furthest(got, stored) - rounding) / (Math.max(...stored.map(Math.abs)) || 1);
}

/**
 * Within the bound, and with the same best label where it was not a tie.
 * @param {number[]} got
 * @param {number[]} stored
 * @param {number} allowed
 * @param {number} rounding
 */
export function agrees(got, stored, allowed, rounding) {
  const largest = Math.max(...stored.map(Math.abs));
  const tie = stored[best(stored)] - stored[best(got)] <= allowed * largest + rounding;
  return difference(got, stored, rounding) <= allowed && tie;
}

/** @param {ArrayLike<number>} one @param {ArrayLike<number>} other */
function furthest(one, other) {
  let most = one.length === other.length ? 0 : Infinity;
  for (let i = 0; i < one.length; i++) most = Math.max(most, Math.abs(one[i] - other[i]));
  return most;
}
