/**
 * From the output tensor to an answer, a task at a time, with labels in the page's language.
 */

/**
 * @typedef {import("./bundle.js").Spec} Spec
 * @typedef {import("./bundle.js").Label} Label
 * @typedef {{label: Label, value: number}} Ranked
 * @typedef {{task: string, top: Ranked[], best: Label | null, probability: number | null, value: number | null,
 *   unsure: boolean, yes: Label[]}} Answer `top` best first; `yes` the labels of a multilabel model that hold
 */

const YES = 0.5; // as `Prediction.label` of the runtime

/**
 * @param {Spec} spec
 * @param {number[]} values the output row
 * @returns {Answer}
 */
export function answerOf(spec, values) {
  const all = spec.task === "binary" ? [1 - values[0], values[0]] : values;
  const top = spec.labels.map((label, index) => ({ label, value: all[index] })).sort((a, b) => b.value - a.value);
  const shares = spec.task !== "policy" && spec.task !== "regression" && top.length > 0;
  // a tie of a binary model is its second label, as in the runtime
  const best = spec.task === "binary" ? spec.labels[values[0] >= YES ? 1 : 0] : (top[0]?.label ?? null);
  const probability = shares ? top[0].value : null;
  return {
    task: spec.task,
    top,
    best,
    probability,
    value: spec.task === "regression" ? values[0] : null,
    unsure: probability !== null && typeof spec.unsure_below === "number" && probability < spec.unsure_below,
    yes: spec.task === "multilabel" ? top.filter((one) => one.value >= YES).map((one) => one.label) : [],
  };
}

/** The position of the best value. @param {ArrayLike<number>} values */
export function best(values) {
  let found = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[found]) found = i;
  return found;
}
