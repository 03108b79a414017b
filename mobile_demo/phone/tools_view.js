/**
 * Below the answer: the speed test, the check, what is off here and why, and what the manifest says of the model.
 */
import { content } from "./bundle.js";
import { hasCamera } from "./camera.js";
import { blob, check } from "./check.js";
import { openSession, threadsHere } from "./engine.js";
import { PageError } from "./errors.js";
import * as outbox from "./outbox.js";
import { benchRecord, randomId } from "./record.js";
import { measure, quantile } from "./speed.js";
import { at, clear, fail, fine, put } from "./view.js";
import { keep, kept } from "./words.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {import("./bundle.js").Artifact} Artifact
 * @typedef {import("./bundle.js").Site} Site
 */

/** @param {App} app */
export function showTools(app) {
  at("phone").value = kept("phone") ?? "";
  at("speed-form").onsubmit = (/** @type {Event} */ event) => {
    event.preventDefault();
    void alone(at("start"), () => speed(app));
  };
  at("check").onclick = () => alone(at("check"), () => checks(app));
  at("save").onclick = () => save();
  features();
  facts(app);
  void showOutbox(app.site);
  globalThis.addEventListener("online", () => void showOutbox(app.site));
}

/** Sends what waits, and says what became of it. @param {Site} site */
export async function showOutbox(site) {
  const became = await outbox.send(site.collector);
  at("outbox").hidden = became === "empty" || became === "sent";
  if (became === "kept" || became === "refused") {
    const count = outbox.waiting().length;
    put(at("outbox-said"), ({ say }) => say(`outbox_${became}`, { count }));
  }
  return became;
}

/** One at a time, with its button off meanwhile. @param {HTMLButtonElement} button @param {() => Promise<void>} work */
async function alone(button, work) {
  button.disabled = true;
  fine();
  try {
    await work();
  } catch (error) {
    fail(error);
  }
  button.disabled = false;
}

/** @param {App} app */
async function speed(app) {
  const { site, bundle } = app;
  const phone = at("phone").value.trim().slice(0, 80);
  keep("phone", phone);
  const run = randomId();
  const [table, bar] = [at("speed-table"), at("speed-progress")];
  const input = await inputOf(app);
  clear(at("speed-note"));
  table.hidden = false;
  bar.hidden = false;
  table.replaceChildren(head(), table.createTBody());
  const records = [];
  for (const artifact of bundle.artifacts) {
    put(at("speed-status"), ({ say, size }) => say("speed_loading", { file: artifact.id, size: size(artifact.size_bytes) }));
    bar.value = 0;
    const bytes = await content(bundle, artifact, (got) => (bar.value = got / artifact.size_bytes));
    put(at("speed-status"), ({ say }) => say("speed_running", { file: artifact.id }));
    const measured = await measure(site, bundle.spec, bytes, input, (share) => (bar.value = share));
    records.push(benchRecord(site, bundle, artifact, measured, { phone, run }));
    const [p50, p90] = [0.5, 0.9].map((q) => quantile(measured.latency_ns, q) / 1e6);
    row(table.tBodies[0], artifact.id, measured.cold_ns.total / 1e6, p50, p90, measured.latency_ns.length);
  }
  bar.hidden = true;
  clear(at("speed-status"));
  outbox.put(records);
  const became = await showOutbox(site);
  put(at("speed-note"), ({ say }) => say(became === "sent" ? "speed_sent" : "speed_kept"));
}

function head() {
  const made = document.createElement("thead");
  const line = made.insertRow();
  for (const key of ["col_file", "col_cold", "col_p50", "col_p90", "col_n"]) {
    const cell = document.createElement("th");
    put(cell, ({ say }) => say(key));
    cell.scope = "col";
    line.append(cell);
  }
  return made;
}

/** @param {HTMLTableSectionElement} body @param {string} name @param {number} cold @param {number} p50 @param {number} p90 @param {number} n */
function row(body, name, cold, p50, p90, n) {
  const [line, file] = [body.insertRow(), document.createElement("th")];
  Object.assign(file, { scope: "row", textContent: name });
  line.append(file);
  for (const time of [cold, p50, p90]) put(line.insertCell(), ({ ms }) => ms(time));
  line.insertCell().textContent = String(n);
}

/** What the test asks: the bundle's first golden case, or a sample. @param {App} app @returns {Promise<Blob | number[]>} */
async function inputOf({ site, bundle }) {
  const golden = bundle.golden[0];
  if (golden?.file) return blob(bundle, golden);
  if (golden?.input) return golden.input;
  if (!bundle.spec.image) return bundle.spec.inputs[0].shape.slice(1).map(() => 0);
  const found = await fetch(site.samples[0].file);
  if (!found.ok) throw new PageError("error_not_there", { file: site.samples[0].file });
  return found.blob();
}

/** @param {App} app */
async function checks({ site, bundle }) {
  const list = at("findings");
  list.replaceChildren();
  for (const artifact of bundle.artifacts) {
    const line = document.createElement("li");
    line.className = "open";
    put(line, ({ say }) => say("check_running", { file: artifact.id }));
    list.append(line);
    const session = await openSession(site, bundle.spec, await content(bundle, artifact));
    try {
      const found = await check(site, bundle, artifact, session);
      line.className = found.ok ? "" : "no";
      line.dataset.finding = JSON.stringify({ artifact: artifact.id, ...found });
      put(line, ({ say, number }) => {
        const values = { file: artifact.id, cases: number(found.cases), difference: scientific(found.raw, number) };
        const pixels = found.pixels === null ? "" : " " + say("check_pixels", { levels: number(found.pixels) });
        return say(found.ok ? "check_good" : "check_bad", values) + pixels;
      });
    } finally {
      session.close();
    }
  }
}

/** A number over many orders of magnitude: 0, or 2.8e-6. @param {number} value @param {import("./words.js").Words["number"]} number */
function scientific(value, number) {
  const [digits, exponent] = value.toExponential(1).split("e");
  return value === 0 ? number(0) : `${number(Number(digits), 1)}e${Number(exponent)}`;
}

/** What a page can do depends on how it was opened. */
function features() {
  const secure = globalThis.isSecureContext;
  const isolated = globalThis.crossOriginIsolated;
  /** @type {[string, boolean, string][]} */
  const rows = [
    ["feature_answer", true, ""],
    ["feature_threads", isolated && threadsHere() > 1, secure ? (isolated ? "why_one_core" : "why_reload") : "why_http"],
    ["feature_camera", hasCamera(), secure ? "why_no_camera" : "why_http"],
    ["feature_offline", secure && "serviceWorker" in navigator, secure ? "why_no_worker" : "why_http"],
  ];
  at("feature-list").replaceChildren(
    ...rows.map(([key, on, why]) => {
      const [line, name, reason] = ["li", "span", "span"].map((tag) => document.createElement(tag));
      line.className = on ? "" : "no";
      line.dataset.feature = key;
      put(name, ({ say, number }) => say(key, { count: number(threadsHere()) }));
      reason.className = "small";
      if (!on) put(reason, ({ say }) => say(why));
      line.append(name, reason);
      return line;
    }),
  );
}

/** @param {App} app */
function facts({ bundle, artifact }) {
  /** @type {[string, (words: import("./words.js").Words) => string][]} */
  const rows = [
    ["fact_bundle", ({ say }) => say("fact_version", { name: bundle.name, version: bundle.version })],
    ["fact_file", ({ size }) => `${artifact.id}, ${size(artifact.size_bytes)}`],
    ["fact_accuracy", (words) => accuracy(artifact, words)],
    ["fact_files", ({ size }) => bundle.artifacts.map((one) => `${one.id} (${size(one.size_bytes)})`).join(", ")],
    ["fact_hash", () => bundle.sha256.slice(0, 12)],
  ];
  at("facts").replaceChildren(
    ...rows.flatMap(([key, value]) => {
      const [name, text] = [document.createElement("dt"), document.createElement("dd")];
      put(name, ({ say }) => say(key));
      put(text, value);
      return [name, text];
    }),
  );
}

/** @param {Artifact} artifact @param {import("./words.js").Words} words */
function accuracy({ accuracy: found }, { say, percent, number }) {
  if (!found) return say("not_measured");
  const share = found.metric === "top-1";
  return say(share ? "accuracy_of" : "return_of", { value: share ? percent(found.value, 1) : number(found.value, 1), n: number(found.n) });
}

function save() {
  const file = outbox.asFile();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = file.name;
  link.click();
  URL.revokeObjectURL(link.href);
}
