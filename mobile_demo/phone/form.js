/**
 * A form for models of numbers, made from the manifest: a field a column, filled with a golden case.
 */

import { put } from "./view.js";

/** @typedef {import("./bundle.js").Bundle} Bundle */

/**
 * @param {HTMLElement} where the fields go
 * @param {Bundle} bundle
 */
export function fill(where, bundle) {
  const { columns, inputs } = bundle.spec;
  const count = inputs[0].shape.slice(1).reduce((product, size) => Number(product) * Number(size), 1);
  const start = bundle.golden[0]?.input ?? [];
  where.replaceChildren(
    ...Array.from({ length: Number(count) }, (_, index) => {
      const [label, field] = [document.createElement("label"), document.createElement("input")];
      const name = document.createElement("span");
      put(name, ({ say }) => columns[index] ?? say("number_of", { index: index + 1 }));
      Object.assign(field, { type: "number", step: "any", required: true, inputMode: "decimal", name: `column-${index}` });
      field.value = String(Number((start[index] ?? 0).toPrecision(6)));
      label.append(name, field);
      return label;
    }),
  );
}

/** The row that the fields hold. @param {HTMLElement} where */
export function row(where) {
  return Array.from(where.querySelectorAll("input"), (field) => field.valueAsNumber);
}
