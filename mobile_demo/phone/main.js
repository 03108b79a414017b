/**
 * The page from top to bottom: which bundle, its words, its artifact, and the view that fits its task.
 */
import { content, firstChoice, openBundle } from "./bundle.js";
import { engineFile, openSession } from "./engine.js";
import { PageError } from "./errors.js";
import { showNumbers } from "./numbers_view.js";
import * as outbox from "./outbox.js";
import { showPictures } from "./picture_view.js";
import { showPolicy } from "./policy_view.js";
import { showTools } from "./tools_view.js";
import { at, fail, fine, put, speak, spoken } from "./view.js";
import { firstLanguage, keep, LANGUAGES, wordsOf } from "./words.js";

/**
 * @typedef {import("./bundle.js").Site} Site
 * @typedef {import("./bundle.js").Bundle} Bundle
 * @typedef {import("./bundle.js").Artifact} Artifact
 * @typedef {{site: Site, bundle: Bundle, artifact: Artifact, session: import("./engine.js").Session}} App
 */

const VIEWS = { pictures: showPictures, policy: showPolicy, numbers: showNumbers };

async function main() {
  outbox.takeToken();
  speak(await wordsOf(firstLanguage()));
  languageSwitch();
  const site = await siteOf();
  const bundle = await openBundle(new URL(`bundles/${chosen(site)}/`, document.baseURI).href, site);
  const artifact = firstChoice(bundle);
  const view = bundle.spec.image ? "pictures" : isCartPole(bundle) ? "policy" : "numbers";
  heading(bundle, view);
  at(view).hidden = false;
  /** @type {App} */
  const app = { site, bundle, artifact, session: /** @type {any} */ (null) };
  VIEWS[view](app);
  showTools(app);
  if (artifact.size_bytes > site.ask_above_bytes) await asked(artifact);
  await load(app);
  at("loading").hidden = true;
  document.dispatchEvent(new CustomEvent("lokma-ready"));
  document.documentElement.dataset.ready = "yes";
  await stay(app);
}

/** @returns {Promise<Site>} */
async function siteOf() {
  try {
    return await (await fetch("site.json")).json();
  } catch (error) {
    throw new PageError("error_network", {}, error);
  }
}

/** The bundle that the address names, else the first; a list where there are more. @param {Site} site */
function chosen(site) {
  const asked = new URLSearchParams(location.search).get("bundle");
  if (asked !== null && !site.bundles.includes(asked)) {
    throw new PageError("error_no_bundle", { name: asked.slice(0, 60), here: site.bundles.join(", ") });
  }
  const name = asked ?? site.bundles[0];
  const list = at("bundles");
  list.replaceChildren(...site.bundles.map((one) => new Option(one, one, one === name, one === name)));
  list.hidden = site.bundles.length < 2;
  list.onchange = () => location.assign(`?bundle=${encodeURIComponent(list.value)}`);
  return name;
}

/** A policy that fits CartPole; any other gets a form. @param {Bundle} bundle */
function isCartPole({ spec }) {
  return spec.task === "policy" && String(spec.inputs[0].shape.slice(1)) === "4" && spec.labels.length === 2;
}

/** @param {Bundle} bundle @param {keyof typeof VIEWS} view */
function heading(bundle, view) {
  put(at("title"), ({ say }) => say(`title_${view}`));
  put(at("lead"), ({ language, say }) => {
    const names = bundle.spec.labels.map((label) => label[language]);
    if (!names.length) return bundle.name;
    return say(view === "policy" ? "decides" : "knows", { labels: names.slice(0, 10).join(" · ") + (names.length > 10 ? " · …" : "") });
  });
}

/** A large artifact is loaded on a tap only. @param {Artifact} artifact @returns {Promise<void>} */
function asked(artifact) {
  put(at("status"), ({ say, size }) => say("large", { size: size(artifact.size_bytes) }));
  put(at("load"), ({ say, size }) => say("load", { size: size(artifact.size_bytes) }));
  at("progress").hidden = true;
  at("load").hidden = false;
  return new Promise((go) => {
    at("load").onclick = () => {
      at("load").hidden = true;
      at("progress").hidden = false;
      go();
    };
  });
}

/** Downloads the engine and the artifact together, and opens a session. @param {App} app */
async function load(app) {
  const { site, bundle, artifact } = app;
  const total = site.engine.wasm.size_bytes + artifact.size_bytes;
  const got = { engine: 0, artifact: 0 };
  const show = () => {
    const sum = got.engine + got.artifact;
    at("progress").value = sum / total;
    put(at("status"), ({ say, size }) => say("loading", { got: size(sum), total: size(total) }));
  };
  show();
  const [bytes] = await Promise.all([
    content(bundle, artifact, (count) => ((got.artifact = count), show())),
    engineFile(site, (count) => ((got.engine = count), show())),
  ]);
  put(at("status"), ({ say }) => say("starting"));
  app.session = await openSession(site, bundle.spec, bytes);
}

/** The language button names the other language. */
function languageSwitch() {
  const button = at("language");
  const other = () => (spoken().language === "tr" ? "en" : "tr");
  const name = () => {
    button.textContent = LANGUAGES[other()];
    button.lang = other();
  };
  name();
  button.onclick = async () => {
    keep("language", other());
    speak(await wordsOf(other()));
    name();
  };
}

/** Keeps the page and the bundle on this phone, where the browser allows it, and says when a new version is there. @param {App} app */
async function stay({ site, bundle, artifact }) {
  if (!globalThis.isSecureContext || !navigator.serviceWorker) return;
  let registration;
  try {
    registration = await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
    await navigator.serviceWorker.ready;
  } catch (error) {
    console.warn(error); // a certificate that the browser does not trust: the list of features says so
    return;
  }
  const goldens = bundle.golden.flatMap((one) => [one.file, one.tensor?.file]).filter((file) => file !== undefined);
  const keep = ["manifest.json", artifact.file, ...goldens].map((file) => new URL(file, bundle.base).href);
  registration.active?.postMessage({ keep });
  const offer = () => {
    if (!registration.waiting || !navigator.serviceWorker.controller) return;
    at("update").hidden = false;
    at("change").onclick = () => registration.waiting?.postMessage({ change: true });
  };
  offer();
  registration.addEventListener("updatefound", () => registration.installing?.addEventListener("statechange", offer));
  const controlled = Boolean(navigator.serviceWorker.controller);
  navigator.serviceWorker.addEventListener("controllerchange", () => controlled && location.reload());
  void site;
}

fine();
main().catch(fail);
