/**
 * The live camera: frames, as fast as they are answered. Browsers give it to secure pages only.
 */
import { PageError } from "./errors.js";
import { pixelsOf } from "./picture.js";

/** @typedef {import("./resize.js").Picture} Picture */

export function hasCamera() {
  return Boolean(globalThis.isSecureContext && navigator.mediaDevices?.getUserMedia);
}

/**
 * Shows the camera in a video element and hands each frame to `answer`, the next when it is done.
 * @param {HTMLVideoElement} video
 * @param {(frame: Picture, framesASecond: number) => Promise<void>} answer
 * @returns {Promise<() => void>} stops it
 * @throws {PageError} it may not be used, or there is none
 */
export async function watch(video, answer) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
  } catch (error) {
    const denied = error instanceof DOMException && error.name === "NotAllowedError";
    throw new PageError(denied ? "error_camera_denied" : "error_camera", {}, error);
  }
  video.srcObject = stream;
  await video.play();
  let on = true;
  const stop = () => {
    on = false;
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  };
  (async () => {
    const times = [performance.now()];
    while (on) {
      await answer(pixelsOf(video, video.videoWidth, video.videoHeight), rate(times));
      times.push(performance.now());
      if (times.length > 10) times.shift();
      await new Promise((go) => requestAnimationFrame(go));
    }
  })().catch(stop);
  return stop;
}

/** @param {number[]} times in ms */
function rate(times) {
  return times.length < 2 ? 0 : (1000 * (times.length - 1)) / (times[times.length - 1] - times[0]);
}
