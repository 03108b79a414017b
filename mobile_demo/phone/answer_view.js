/**
 * The answer: what it is, how sure, how long it took, and the question whether it was right.
 */
import { fieldRecord } from "./record.js";
import * as outbox from "./outbox.js";
import { showOutbox } from "./tools_view.js";
import { at, clear, put } from "./view.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {import("./runner.js").Outcome} Outcome
 * @typedef {import("./answer.js").Answer} Answer
 * @typedef {import("./words.js").Words} Words
 */

const TOP = 3;

/**
 * @param {App} app
 * @param {Outcome} outcome
 * @param {{asks: boolean, photo: boolean, rate?: number}} how `asks` whether it was right; `rate` in frames a second
 */
export function showAnswer(app, { answer, total_ms }, { asks, photo, rate }) {
  put(at("said"), (words) => sentence(answer, words, app.bundle.spec.outputs[0].unit));
  at("said").classList.toggle("unsure", answer.unsure);
  put(at("where"), ({ say, ms, number }) => {
    const time = rate ? say("a_second", { rate: number(rate, 1) }) : ms(total_ms);
    return say(photo ? "where_photo" : "where_numbers", { time });
  });
  bars(answer);
  clear(at("thanks"));
  at("answer").hidden = false;
  at("right").hidden = !asks || !answer.best;
  at("which").hidden = true;
  if (!asks) return;
  at("yes").onclick = () => tell(app, answer, answer.best?.id ?? null);
  at("no").onclick = () => which(app, answer);
}

/** @param {Answer} answer @param {Words} words @param {string} unit */
function sentence(answer, { language, say, percent, number }, unit) {
  if (answer.unsure) return say("unsure");
  if (answer.value !== null) return `${number(answer.value, 2)} ${unit}`.trim();
  if (answer.task === "multilabel") {
    return answer.yes.length ? answer.yes.map((label) => capital(label[language], language)).join(", ") : say("none_of_them");
  }
  const name = capital(answer.best?.[language] ?? "", language);
  if (answer.probability === null) return name;
  const rounded = answer.probability >= 0.995; // which would read as certain
  return `${name} ${percent(answer.probability, rounded ? 1 : 0)}`;
}

/** @param {Answer} answer */
function bars(answer) {
  const list = at("top");
  const shares = answer.probability !== null;
  list.classList.toggle("plain", !shares);
  list.replaceChildren(
    ...answer.top.slice(0, TOP).map(({ label, value }) => {
      const [line, name, figure] = ["li", "span", "span"].map((tag) => document.createElement(tag));
      line.style.setProperty("--share", shares ? `${100 * value}%` : "0%");
      put(name, ({ language }) => label[language]);
      put(figure, ({ percent, number }) => (shares ? percent(value, 1) : number(value, 3)));
      line.append(name, figure);
      return line;
    }),
  );
}

/** Asks what it was. @param {App} app @param {Answer} answer */
function which(app, answer) {
  const others = app.bundle.spec.labels.filter((label) => label.id !== answer.best?.id);
  const list = at("actual");
  const options = [...others, null].map((label) => {
    const option = new Option("", label?.id ?? "");
    put(option, ({ language, say }) => label?.[language] ?? say("something_else"));
    return option;
  });
  list.replaceChildren(...options);
  at("which").hidden = false;
  list.focus();
  at("tell").onclick = () => tell(app, answer, list.value || null);
}

/** Posts what was said and what it was; never the picture. @param {App} app @param {Answer} answer @param {string | null} actual */
async function tell(app, answer, actual) {
  const predicted = answer.best?.id ?? "";
  const right = actual === predicted;
  const said = { predicted, actual, right, probability: answer.probability };
  outbox.put([fieldRecord(app.site, app.bundle, app.artifact, said)]);
  at("right").hidden = true;
  put(at("thanks"), ({ say }) => say("thanks"));
  await showOutbox(app.site);
}

/** @param {string} name @param {string} language */
function capital(name, language) {
  return name.slice(0, 1).toLocaleUpperCase(language) + name.slice(1);
}
