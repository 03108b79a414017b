/**
 * Every way the page says no: a sentence of the catalogue (`error_…`) with its values.
 */
export class PageError extends Error {
  /**
   * @param {string} key of the catalogue
   * @param {Record<string, string | number>} [values] that its sentence names
   * @param {unknown} [cause]
   */
  constructor(key, values = {}, cause = undefined) {
    super(`${key} ${JSON.stringify(values)}`, { cause });
    this.key = key;
    this.values = values;
  }
}
