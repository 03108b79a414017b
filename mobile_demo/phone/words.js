/**
 * The page's sentences in one language, from the catalogue that the dashboard reads too, and numbers as it writes them.
 */

export const LANGUAGES = /** @type {const} */ ({ en: "English", tr: "Türkçe" });

/** @typedef {keyof typeof LANGUAGES} Language */

/**
 * @typedef {{language: Language, say: (key: string, values?: Record<string, string | number>) => string,
 *   number: (value: number, digits?: number) => string, percent: (share: number, digits?: number) => string,
 *   ms: (milliseconds: number) => string, size: (bytes: number) => string}} Words
 */

/** The language kept from the last visit, else the browser's. @returns {Language} */
export function firstLanguage() {
  const asked = [new URLSearchParams(location.search).get("lang"), kept("language"), ...navigator.languages];
  const found = asked.map((one) => one?.slice(0, 2).toLowerCase()).find((one) => one && one in LANGUAGES);
  return /** @type {Language} */ (found ?? "en");
}

/**
 * @param {Language} language
 * @returns {Promise<Words>}
 */
export async function wordsOf(language) {
  const texts = await (await fetch(`words.${language}.json`)).json();
  const number = (/** @type {number} */ value, digits = 0) =>
    value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return {
    language,
    say: (key, values = {}) =>
      texts[key].replace(/\{(\w+)\}/g, (/** @type {string} */ _, /** @type {string} */ name) => String(values[name])),
    number,
    // as mobile_demo/words.py writes them
    percent: (share, digits = 0) => (language === "tr" ? `%${number(share * 100, digits)}` : `${number(share * 100, digits)}\u00a0%`),
    ms: (value) => (value < 1 ? `${number(value * 1000)}\u00a0µs` : `${number(value, value < 10 ? 1 : 0)}\u00a0ms`),
    size: (bytes) => (bytes < 1e6 ? `${number(bytes / 1e3)}\u00a0kB` : `${number(bytes / 1e6, 1)}\u00a0MB`),
  };
}

/** What the page keeps on this phone; a browser may forbid it. @param {string} key */
export function kept(key) {
  try {
    return localStorage.getItem(`lokma-${key}`);
  } catch {
    return null;
  }
}

/** @param {string} key @param {string} value */
export function keep(key, value) {
  try {
    localStorage.setItem(`lokma-${key}`, value);
  } catch {
    // nothing depends on it
  }
}
