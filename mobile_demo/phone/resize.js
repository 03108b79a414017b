/**
 * Resize and crop exactly as `edge_runtime/preprocess.py` does by Pillow: its kernels with antialiasing, in its own
 * fixed-point arithmetic, across and then down. No canvas smoothing, so that phone and Pi see the same pixels.
 * Source: Pillow, src/libImaging/Resample.c (precompute_coeffs, normalize_coeffs_8bpc).
 */

/**
 * @typedef {{width: number, height: number, rows: (first: number, count: number) => Uint8ClampedArray}} Picture
 *   upright; `rows` gives RGBA, four bytes a pixel
 * @typedef {{resize: number, crop: number, filter: string}} ImageSpec
 * @typedef {{first: Int32Array, weights: Int32Array, width: number}} Weights
 *   `width` weights for each output pixel, of the input pixels from `first` on
 */

const BITS = 22; // 32 less 8 of the pixel and 2 of what kernels overshoot
const STRIP_PIXELS = 1 << 20;

/** name: how far the kernel reaches, and its value at a distance */
const FILTERS = /** @type {Record<string, [number, (x: number) => number]>} */ ({
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, bicubic],
  lanczos: [3, (x) => (-3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
});

/**
 * The pixels a model takes: RGB bytes of shape (crop, crop, 3).
 * @param {Picture} picture
 * @param {ImageSpec} image
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function toPixels(picture, image) {
  const { width, height } = picture;
  const { crop } = image;
  if (width === crop && height === crop && image.resize === crop) return rgbOf(picture);
  const short = Math.min(width, height);
  const newWidth = Math.floor((image.resize * width) / short);
  const newHeight = Math.floor((image.resize * height) / short);
  const left = roundHalfEven((newWidth - crop) / 2);
  const top = roundHalfEven((newHeight - crop) / 2);
  const across = width / newWidth;
  const down = height / newHeight;
  const [reach] = FILTERS[image.filter];
  const margin = reach * Math.max(1, down) + 1;
  let first = Math.max(0, Math.trunc(top * down - margin));
  let last = Math.min(height, Math.ceil((top + crop) * down + margin));
  if (last - first > Math.floor(height / 2)) [first, last] = [0, height];
  const columns = weights(width, left * across, (left + crop) * across, crop, image.filter);
  const rows = weights(last - first, top * down - first, (top + crop) * down - first, crop, image.filter);
  return vertical(horizontal(picture, first, last - first, columns, crop), rows, crop);
}

/**
 * @param {number} size of the input
 * @param {number} from where the box begins in it; Pillow keeps it as float32
 * @param {number} to where it ends
 * @param {number} out size of the output
 * @param {string} filter
 * @returns {Weights}
 */
export function weights(size, from, to, out, filter) {
  const [reach, kernel] = FILTERS[filter];
  const start = Math.fround(from);
  const scale = Math.fround(Math.fround(to) - start) / out;
  const stretch = Math.max(1, scale);
  const support = reach * stretch;
  const width = Math.ceil(support) * 2 + 1;
  const found = { first: new Int32Array(out), weights: new Int32Array(out * width), width };
  const own = new Float64Array(width);
  for (let i = 0; i < out; i++) {
    const centre = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const count = Math.min(size, Math.trunc(centre + support + 0.5)) - first;
    let sum = 0;
    for (let k = 0; k < count; k++) {
      own[k] = kernel((k + first - centre + 0.5) * (1 / stretch));
      sum += own[k];
    }
    found.first[i] = first;
    for (let k = 0; k < count; k++) {
      const weight = (sum ? own[k] / sum : own[k]) * (1 << BITS);
      found.weights[i * width + k] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
  }
  return found;
}

/**
 * @param {Picture} picture
 * @param {number} top the first row that is needed
 * @param {number} height how many are
 * @param {Weights} weights
 * @param {number} out
 */
function horizontal(picture, top, height, { first, weights, width }, out) {
  const made = new Uint8Array(height * out * 3);
  const strip = Math.max(1, Math.floor(STRIP_PIXELS / picture.width));
  for (let done = 0; done < height; done += strip) {
    const count = Math.min(strip, height - done);
    const source = picture.rows(top + done, count);
    for (let y = 0; y < count; y++) {
      const row = y * picture.width * 4;
      for (let x = 0; x < out; x++) {
        let [r, g, b] = [HALF, HALF, HALF];
        const end = Math.min(width, picture.width - first[x]);
        for (let k = 0, at = row + first[x] * 4; k < end; k++, at += 4) {
          const weight = weights[x * width + k];
          r += source[at] * weight;
          g += source[at + 1] * weight;
          b += source[at + 2] * weight;
        }
        const to = ((done + y) * out + x) * 3;
        made[to] = level(r);
        made[to + 1] = level(g);
        made[to + 2] = level(b);
      }
    }
  }
  return made;
}

const HALF = 1 << (BITS - 1);

/** @param {Uint8Array} source rows of `out` pixels @param {Weights} weights @param {number} out */
function vertical(source, { first, weights, width }, out) {
  const made = new Uint8Array(out * out * 3);
  const row = out * 3;
  const height = source.length / row;
  for (let y = 0; y < out; y++) {
    const end = Math.min(width, height - first[y]);
    for (let x = 0; x < row; x++) {
      let sum = HALF;
      for (let k = 0, at = first[y] * row + x; k < end; k++, at += row) sum += source[at] * weights[y * width + k];
      made[y * row + x] = level(sum);
    }
  }
  return made;
}

/** @param {number} sum in fixed point */
function level(sum) {
  const value = sum >> BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/** A picture's own pixels, three bytes each. @param {Picture} picture */
export function rgbOf(picture) {
  const rgba = picture.rows(0, picture.height);
  const made = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) made.set(rgba.subarray(from, from + 3), to);
  return made;
}

/** Keys' kernel with a = -0.5. @param {number} x */
function bicubic(x) {
  const a = -0.5;
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

/** @param {number} x */
function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

/** As Python rounds. @param {number} value */
function roundHalfEven(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2 === 0 ? 0 : 1) : Math.round(value);
}
