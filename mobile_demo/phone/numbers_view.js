/**
 * Rows of numbers: the form that the manifest makes, and what the model says of it.
 */
import { showAnswer } from "./answer_view.js";
import { fill, row } from "./form.js";
import { ask } from "./runner.js";
import { at, fail, fine } from "./view.js";

/** @param {import("./main.js").App} app */
export function showNumbers(app) {
  const [form, fields] = [at("numbers"), at("fields")];
  fill(fields, app.bundle);
  form.onsubmit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!app.session) return;
    fine();
    try {
      showAnswer(app, await ask(app.bundle.spec, app.session, row(fields)), { asks: true, photo: false });
    } catch (error) {
      fail(error);
    }
  };
}
