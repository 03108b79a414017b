/**
 * CartPole as Gymnasium's CartPole-v1 moves it, and a picture of it. The exported policy decides; this only obeys.
 * Source: Barto, Sutton and Anderson 1983, in the form of gymnasium/envs/classic_control/cartpole.py (MIT).
 */

/** @typedef {[number, number, number, number]} State x in m, its speed, the pole's angle in rad, its speed */

const GRAVITY = 9.8;
const POLE_MASS = 0.1;
const TOTAL_MASS = 1.1;
const HALF_LENGTH = 0.5;
const FORCE = 10;
const STEP_S = 0.02;
export const MAX_X = 2.4;
export const MAX_ANGLE = (12 * 2 * Math.PI) / 360;
export const MAX_STEPS = 500;
export const FRAME_MS = 1000 * STEP_S;

/**
 * One step of 20 ms.
 * @param {State} state
 * @param {number} action 0 pushes left, 1 right
 * @returns {State}
 */
export function step([x, speed, angle, turning], action) {
  const force = action === 1 ? FORCE : -FORCE;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const poleMoment = POLE_MASS * HALF_LENGTH;
  const push = (force + poleMoment * turning * turning * sin) / TOTAL_MASS;
  const inertia = HALF_LENGTH * (4 / 3 - (POLE_MASS * cos * cos) / TOTAL_MASS);
  const angular = (GRAVITY * sin - cos * push) / inertia;
  const linear = push - (poleMoment * angular * cos) / TOTAL_MASS;
  return [x + STEP_S * speed, speed + STEP_S * linear, angle + STEP_S * turning, turning + STEP_S * angular];
}

/** Whether the cart left its track or the pole fell. @param {State} state */
export function fell([x, , angle]) {
  return Math.abs(x) > MAX_X || Math.abs(angle) > MAX_ANGLE;
}

/** A start, as Gymnasium draws it. @returns {State} */
export function start() {
  const draw = () => Math.random() * 0.1 - 0.05;
  return [draw(), draw(), draw(), draw()];
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {State} state
 * @param {{ink: string, line: string, accent: string}} colours
 */
export function draw(pen, [x, , angle], { ink, line, accent }) {
  const { width, height } = pen.canvas;
  const scale = width / (2 * MAX_X + 1);
  const [middle, ground] = [width / 2 + x * scale, height * 0.78];
  const [cartWidth, cartHeight] = [0.75 * scale, 0.4 * scale];
  pen.clearRect(0, 0, width, height);
  pen.lineWidth = width / 300;
  pen.strokeStyle = line;
  pen.beginPath();
  pen.moveTo(0, ground);
  pen.lineTo(width, ground);
  for (const end of [-MAX_X, MAX_X]) {
    pen.moveTo(width / 2 + end * scale, ground - 0.2 * scale);
    pen.lineTo(width / 2 + end * scale, ground + 0.2 * scale);
  }
  pen.stroke();
  pen.fillStyle = ink;
  pen.beginPath();
  pen.roundRect(middle - cartWidth / 2, ground - cartHeight / 2, cartWidth, cartHeight, 0.08 * scale);
  pen.fill();
  pen.strokeStyle = accent;
  pen.lineCap = "round";
  pen.lineWidth = 0.13 * scale;
  pen.beginPath();
  pen.moveTo(middle, ground - cartHeight / 2);
  const length = 2 * HALF_LENGTH * 1.5 * scale;
  pen.lineTo(middle + Math.sin(angle) * length, ground - cartHeight / 2 - Math.cos(angle) * length);
  pen.stroke();
}
