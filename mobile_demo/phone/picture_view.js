/**
 * Pictures: take one, choose one, a sample, or the live camera; and what the model says of it.
 */
import { showAnswer } from "./answer_view.js";
import { hasCamera, watch } from "./camera.js";
import { PageError } from "./errors.js";
import { ask } from "./runner.js";
import { at, clear, fail, fine, label, put } from "./view.js";

/** @typedef {import("./main.js").App} App */

/** @type {(() => void) | null} */
let stopCamera = null;
let newest = 0;

/** @param {App} app */
export function showPictures(app) {
  for (const id of ["take", "choose"]) {
    const input = at(id);
    input.onchange = () => {
      if (input.files.length) void answer(app, input.files[0]);
      input.value = ""; // the same picture may be chosen again
    };
  }
  document.addEventListener("paste", (event) => {
    const file = event.clipboardData?.files[0];
    if (file) void answer(app, file);
  });
  samples(app);
  const live = at("live");
  live.hidden = !hasCamera();
  put(live, ({ say }) => say("camera_on"));
  live.onclick = () => (stopCamera ? stop() : start(app));
}

/** @param {App} app @param {Blob} file */
async function answer(app, file) {
  stop();
  fine();
  const mine = ++newest;
  try {
    show(file);
    if (!app.session) {
      at("answer").hidden = true;
      await new Promise((ready) => document.addEventListener("lokma-ready", ready, { once: true }));
    }
    if (mine !== newest) return;
    await warm(app, file);
    const outcome = await ask(app.bundle.spec, app.session, file);
    if (mine === newest) showAnswer(app, outcome, { asks: true, photo: true });
  } catch (error) {
    if (mine !== newest) return;
    at("answer").hidden = true;
    unshow();
    fail(error);
  }
}

let warmed = false;

/** The first answer compiles the engine; the time that is shown is that of a page that is ready. @param {App} app @param {Blob} file */
async function warm(app, file) {
  if (!warmed) await ask(app.bundle.spec, app.session, file);
  warmed = true;
}

/** @param {App} app */
function samples(app) {
  const golden = app.bundle.golden.find((one) => one.file);
  const own = golden ? [{ file: new URL(golden.file ?? "", app.bundle.base).href, source: "", licence: "", address: "" }] : [];
  const all = [...own, ...app.site.samples];
  at("samples").replaceChildren(
    ...all.map((sample, index) => {
      const [button, image] = [document.createElement("button"), document.createElement("img")];
      button.type = "button";
      button.dataset.sample = String(index);
      button.setAttribute("aria-pressed", "false");
      Object.assign(image, { src: sample.file, alt: "", loading: "lazy", decoding: "async" });
      label(button, ({ say }) => say("sample", { number: index + 1 }));
      button.append(image);
      button.onclick = () => void pick(app, sample, button);
      return button;
    }),
  );
}

/** @param {App} app @param {{file: string, source: string, licence: string, address: string}} sample @param {HTMLElement} button */
async function pick(app, sample, button) {
  let file;
  try {
    const found = await fetch(sample.file);
    if (!found.ok) throw new PageError("error_not_there", { file: sample.file });
    file = await found.blob();
  } catch (error) {
    fail(error instanceof PageError ? error : new PageError("error_network", {}, error));
    return;
  }
  await answer(app, file);
  button.setAttribute("aria-pressed", "true");
  credit(sample);
}

/** @param {{source: string, licence: string, address: string}} sample */
function credit({ source, licence, address }) {
  const line = at("credit");
  if (!source) {
    put(line, ({ say }) => say("credit_golden"));
    return;
  }
  clear(line);
  const [name, link] = [document.createElement("span"), document.createElement("a")];
  put(name, ({ say }) => say("credit", { source, licence }) + " ");
  Object.assign(link, { href: address, rel: "noreferrer", target: "_blank", textContent: address.replace(/^https?:\/\//, "") });
  line.append(name, ...(address ? [link] : []));
}

/** @param {App} app */
async function start(app) {
  fine();
  const video = at("video");
  try {
    at("shown").hidden = true;
    video.hidden = false;
    at("plate").classList.add("full");
    at("shutter").hidden = true;
    stopCamera = await watch(video, async (frame, rate) => {
      if (!app.session || !frame.width) return;
      const outcome = await ask(app.bundle.spec, app.session, frame);
      if (stopCamera) showAnswer(app, outcome, { asks: false, photo: true, rate });
    });
    put(at("live"), ({ say }) => say("camera_off"));
  } catch (error) {
    unshow();
    fail(error);
  }
}

function stop() {
  if (!stopCamera) return;
  stopCamera();
  stopCamera = null;
  unshow();
  at("answer").hidden = true;
  put(at("live"), ({ say }) => say("camera_on"));
}

/** @param {Blob} file */
function show(file) {
  const image = at("shown");
  if (image.src) URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
  image.hidden = false;
  at("plate").classList.add("full");
  clear(at("credit"));
  for (const button of at("samples").children) button.setAttribute("aria-pressed", "false");
}

function unshow() {
  at("shown").hidden = true;
  at("video").hidden = true;
  at("shutter").hidden = false;
  at("plate").classList.remove("full");
}
