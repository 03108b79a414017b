/**
 * From a file or a camera's frame to upright pixels. The canvas only hands them over, one to one and strip by strip:
 * phones limit how large a canvas may be.
 */
import { PageError } from "./errors.js";

/** @typedef {import("./resize.js").Picture} Picture */

export const MAX_PIXELS = 89_000_000; // as the runtime reads
const HEIC_BRANDS = ["heic", "heix", "heim", "heis", "hevc", "hevx", "mif1"];

/**
 * Decodes a picture; `close` gives its memory back.
 * @param {Blob} blob
 * @returns {Promise<Picture & {close: () => void}>}
 * @throws {PageError} it is not a picture that this browser reads
 */
export async function decode(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch (error) {
    throw new PageError((await isHeic(blob)) ? "error_heic" : "error_picture", {}, error);
  }
  const pixels = bitmap.width * bitmap.height;
  if (!pixels || pixels > MAX_PIXELS) {
    bitmap.close();
    throw new PageError("error_picture_size", { millions: Math.round(MAX_PIXELS / 1e6) });
  }
  return { ...pixelsOf(bitmap, bitmap.width, bitmap.height), close: () => bitmap.close() };
}

/**
 * The pixels of anything that a canvas draws; what is transparent becomes white, as in the runtime.
 * @param {CanvasImageSource} source
 * @param {number} width
 * @param {number} height
 * @returns {Picture}
 */
export function pixelsOf(source, width, height) {
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  if (!pen) throw new PageError("error_memory");
  const drawn = pen;
  canvas.width = width;
  return {
    width,
    height,
    rows(first, count) {
      if (canvas.height !== count) canvas.height = count;
      drawn.imageSmoothingEnabled = false;
      drawn.fillStyle = "#fff";
      drawn.fillRect(0, 0, width, count);
      drawn.drawImage(source, 0, first, width, count, 0, 0, width, count);
      return drawn.getImageData(0, 0, width, count).data;
    },
  };
}

/** Whether a file begins as a phone's HEIC does: a box `ftyp` with one of its brands. @param {Blob} blob */
async function isHeic(blob) {
  const head = String.fromCharCode(...new Uint8Array(await blob.slice(0, 12).arrayBuffer()));
  return head.slice(4, 8) === "ftyp" && HEIC_BRANDS.includes(head.slice(8, 12));
}
