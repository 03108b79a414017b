/**
 * Texts on the page that follow the language, and the few questions that one asks a page.
 */
import { PageError } from "./errors.js";

/** @typedef {import("./words.js").Words} Words */

/** @type {Words} */
let words;
/** @type {Map<Element, (words: Words) => string>} */
const texts = new Map();
/** @type {Map<Element, (words: Words) => string>} */
const labels = new Map();

/** The element with an id. @param {string} id @returns {any} */
export function at(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}

/**
 * Writes a sentence into an element, and again when the language changes.
 * @param {Element} element
 * @param {(words: Words) => string} sentence
 */
export function put(element, sentence) {
  texts.set(element, sentence);
  element.textContent = sentence(words);
}

/**
 * Names an element that shows no text, for screen readers.
 * @param {Element} element
 * @param {(words: Words) => string} sentence
 */
export function label(element, sentence) {
  labels.set(element, sentence);
  element.setAttribute("aria-label", sentence(words));
}

/** Takes a sentence away. @param {Element} element */
export function clear(element) {
  texts.delete(element);
  element.textContent = "";
}

/** Writes everything in another language. @param {Words} chosen */
export function speak(chosen) {
  words = chosen;
  document.documentElement.lang = chosen.language;
  for (const element of document.querySelectorAll("[data-t]")) {
    element.textContent = chosen.say(/** @type {HTMLElement} */ (element).dataset.t ?? "");
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", chosen.say(/** @type {HTMLElement} */ (element).dataset.label ?? ""));
  }
  for (const known of [texts, labels]) {
    for (const element of known.keys()) if (!element.isConnected) known.delete(element);
  }
  for (const [element, sentence] of texts) element.textContent = sentence(chosen);
  for (const [element, sentence] of labels) element.setAttribute("aria-label", sentence(chosen));
}

/** The words of the page's language now. */
export function spoken() {
  return words;
}

/** Says in a sentence what went wrong; what is not ours to explain is thrown on. @param {unknown} error */
export function fail(error) {
  const known = error instanceof PageError ? error : new PageError("error_unknown", { said: String(error) });
  if (words) put(at("error"), ({ say }) => say(known.key, known.values));
  else at("error").textContent = document.querySelector("template")?.content.textContent; // no words have arrived
  at("error").hidden = false;
  at("error").scrollIntoView({ block: "nearest" });
  at("loading").hidden = true;
  console.warn(error);
}

/** Takes the last error away. */
export function fine() {
  at("error").hidden = true;
}
