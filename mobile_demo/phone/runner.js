/**
 * From raw input to answer, with the time of each stage: the phone's side of `edge_runtime/predictor.py`.
 */
import { answerOf } from "./answer.js";
import { decode } from "./picture.js";
import { toPixels } from "./resize.js";

/**
 * @typedef {import("./bundle.js").Spec} Spec
 * @typedef {import("./engine.js").Session} Session
 * @typedef {import("./answer.js").Answer} Answer
 * @typedef {import("./resize.js").Picture} Picture
 * @typedef {{decode: number, preprocess: number, inference: number, postprocess: number}} Stages in ms
 * @typedef {{values: number[], answer: Answer, ms: Stages, total_ms: number}} Outcome
 */

/**
 * Answers a picture (a file), decoded pixels (a camera's frame) or a row of numbers.
 * @param {Spec} spec
 * @param {Session} session
 * @param {Blob | Picture | number[]} input
 * @returns {Promise<Outcome>}
 */
export async function ask(spec, session, input) {
  const started = performance.now();
  const picture = input instanceof Blob ? await decode(input) : input;
  const decoded = performance.now();
  const tensor = tensorOf(spec, picture);
  if (input instanceof Blob && "close" in picture) /** @type {any} */ (picture).close();
  const ready = performance.now();
  const { values } = await session.run(tensor);
  const ran = performance.now();
  performance.measure("lokma-inference", { start: ready });
  const answer = answerOf(spec, values);
  const ended = performance.now();
  const ms = { decode: decoded - started, preprocess: ready - decoded, inference: ran - ready, postprocess: ended - ran };
  return { values, answer, ms, total_ms: ended - started };
}

/**
 * What goes into the model.
 * @param {Spec} spec
 * @param {Picture | number[]} input
 */
export function tensorOf(spec, input) {
  if (Array.isArray(input)) return Float32Array.from(input);
  if (!spec.image) throw new TypeError("a model of rows takes no picture");
  return toPixels(input, spec.image);
}
