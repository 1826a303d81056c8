// Words of the pages: numbers, names of codes and what they mean for a reader, and the boxes that they stand in.

import { make } from "/static/common.js";

// What a code means for a reader; the service's own sentence stands beside it.
const MEANINGS = {
  under_exposed: ["Dark film", "Detail in the dense parts may be lost; the answer is less reliable."],
  over_exposed: ["Bright film", "Detail in the lungs may be lost; the answer is less reliable."],
  low_contrast: ["Little contrast", "Faint findings may not show."],
  aspect: ["Unusual shape", "The film may be cut, or another body part."],
  crop: ["Cut film", "Part of the lungs may lie outside the picture."],
  tint: ["Coloured picture", "It may be a photograph or a screenshot of a film."],
  near_uniform: ["Almost no picture", "There may be no film in this file."],
  burned_in: ["Text in the picture", "It may name the patient, and the model may react to it."],
  low_confidence: ["Low confidence", "No class stands out."],
  not_a_chest_film: ["Perhaps no chest film", "Do not rely on the answer before somebody has looked at the picture."],
  tb_flag: ["TB flag", ""],
  several_labels: ["Several labels fit", ""],
  other_label: ["Another label fits", ""],
  empty_set: ["No label fits", "The film may be unlike those that the model knows."],
};

const GRAVE = ["not_a_chest_film"];  // nothing else that is said of the film matters then

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** `low_contrast` to `Low contrast`. */
export function title(code) {
  const words = String(code).replaceAll(/[_-]+/g, " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A code in a few words. */
export const meaningOf = (code) => MEANINGS[code]?.[0] ?? title(code);

/** Name and sentences of a warning, as elements. */
export function explained(code, message = "") {
  const [name, meaning] = MEANINGS[code] ?? [title(code), ""];
  const text = [message, meaning].filter(Boolean).join(" ");
  return [make("strong", {}, name), text ? make("span", {}, text) : null];
}

/** One warning or reason as a list item. */
export const warning = (code, message = "") =>
  make("li", { class: GRAVE.includes(code) ? "stop" : null }, ...explained(code, message));

/** A part of an answer under its heading. */
export function block(name, ...children) {
  return make("section", { class: "block" }, make("h3", {}, name), ...children);
}

export const small = (text) => make("span", { class: "small" }, text);
