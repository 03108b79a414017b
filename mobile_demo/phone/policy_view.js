/**
 * CartPole: the exported policy sees four numbers fifty times a second and pushes left or right.
 */
import { draw, fell, FRAME_MS, MAX_STEPS, start, step } from "./cartpole.js";
import { ask } from "./runner.js";
import { at, fail, fine, put } from "./view.js";

/**
 * @typedef {import("./main.js").App} App
 * @typedef {import("./cartpole.js").State} State
 */

const PUSH = 1; // rad/s that a visitor's push adds to the pole

/** @param {App} app */
export function showPolicy(app) {
  /** @type {State} */
  let state = start();
  let playing = false;
  let pushed = 0;
  const paint = () => draw(at("cart").getContext("2d"), state, colours());
  const button = at("play");
  put(button, ({ say }) => say("play"));
  at("push").onclick = () => (pushed = Math.random() < 0.5 ? -PUSH : PUSH);
  button.onclick = async () => {
    playing = !playing;
    put(button, ({ say }) => say(playing ? "stop" : "play"));
    try {
      while (playing && app.session) await episode();
    } catch (error) {
      fail(error);
    }
    playing = false;
    put(button, ({ say }) => say("play"));
  };
  button.disabled = at("push").disabled = true;
  document.addEventListener("lokma-ready", () => (button.disabled = at("push").disabled = false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  paint();

  async function episode() {
    fine();
    state = start();
    let steps = 0;
    /** @type {number[]} */
    const times = [];
    while (playing && steps < MAX_STEPS && !fell(state)) {
      const from = performance.now();
      const { answer, total_ms } = await ask(app.bundle.spec, app.session, [...state]);
      times.push(total_ms);
      state = step(state, app.bundle.spec.labels.findIndex((label) => label.id === answer.best?.id));
      state[3] += pushed;
      pushed = 0;
      steps += 1;
      paint();
      say(app, steps, answer.best, times);
      await new Promise((go) => setTimeout(go, Math.max(0, FRAME_MS - (performance.now() - from))));
    }
    await new Promise((go) => setTimeout(go, 700)); // so that its end is seen
  }
}

/** @param {App} app @param {number} steps @param {import("./bundle.js").Label | null} action @param {number[]} times */
function say(app, steps, action, times) {
  const middle = [...times].sort((a, b) => a - b)[times.length >> 1];
  at("answer").hidden = false;
  put(at("said"), ({ say, number }) => say("steps", { steps: number(steps), most: number(MAX_STEPS) }));
  put(at("where"), ({ language, say, ms }) => say("where_policy", { action: action?.[language] ?? "", time: ms(middle) }));
  // fifty announcements a second help nobody
  at("said").parentElement.setAttribute("aria-live", "off");
  void app;
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const [ink, line, accent] = ["--ink", "--soft", "--accent"].map((name) => style.getPropertyValue(name).trim());
  return { ink, line, accent };
}
