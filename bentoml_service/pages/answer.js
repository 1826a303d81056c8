// An answer of the service as elements: prediction, probabilities, prediction set, uncertainty, warnings, parts, model.

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
  not_a_chest_film: ["Perhaps no chest film", "The picture is unlike the chest films that the model knows."],
};
const SHORT = 12;  // digits of a digest that are shown; the whole is in its title

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** `low_contrast` to `Low contrast`. */
export function title(code) {
  const words = String(code).replaceAll(/[_-]+/g, " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A code in a few words. */
export const meaningOf = (code) => MEANINGS[code]?.[0] ?? title(code);

/** Bars of the probabilities; the number is text, the bar is decoration. */
export function bars(probabilities, chosen) {
  const rows = Object.entries(probabilities).map(([label, share]) => {
    const fill = make("span", { class: "fill" });
    fill.style.width = `${100 * Math.min(Math.max(share, 0), 1)}%`;
    return make(
      "li",
      { class: label === chosen ? "chosen" : null },
      make("span", { class: "name" }, label),
      make("span", { class: "track", "aria-hidden": "true" }, fill),
      make("span", { class: "value" }, percent(share)),
    );
  });
  return make("ul", { class: "bars", "aria-label": "Probabilities" }, ...rows);
}

/** One warning or reason as a list item. */
export function warning(code, message = "") {
  const [name, meaning] = MEANINGS[code] ?? [title(code), ""];
  const text = [message, meaning].filter(Boolean).join(" ");
  return make("li", {}, make("strong", {}, name), text ? make("span", {}, text) : null);
}

/** Prediction, confidence and probabilities: what an answer and a case have in common. */
export function verdict(answer, heading = "h3") {
  return make(
    "div",
    { class: "verdict" },
    make(heading, { class: "prediction" }, answer.prediction),
    make("p", {}, `Confidence ${percent(answer.confidence)}`),
    bars(answer.probabilities, answer.prediction),
  );
}

/** The warnings as a section, or null. */
export function warnings(list) {
  if (!list?.length) {
    return null;
  }
  return block("Warnings", make("ul", { class: "warnings" }, ...list.map((one) => warning(one.code, one.message))));
}

/** A whole answer of a predict route, as an array of elements. */
export function answerParts(answer) {
  const { prediction_set: set, ...others } = answer.parts ?? {};
  return [
    verdict(answer),
    set ? predictionSet(set) : null,
    warnings(answer.warnings),
    answer.review?.case
      ? block("Kept for a reader", make("p", {}, make("a", { href: "/review", "data-page": "review" }, "In the review queue")))
      : null,
    answer.uncertainty ? uncertainty(answer.uncertainty) : null,
    ...Object.entries(others).map(([name, value]) => block(title(name), generic(value))),
    identity(answer),
  ].filter(Boolean);
}

function block(name, ...children) {
  return make("section", { class: "block" }, make("h3", {}, name), ...children);
}

function uncertainty({ entropy, margin }) {
  const list = make("dl", { class: "facts" });
  if (Number.isFinite(entropy)) {
    list.append(make("dt", {}, "Entropy"), make("dd", {}, `${entropy.toFixed(2)} `, small("0 sure, 1 evenly spread")));
  }
  if (Number.isFinite(margin)) {
    list.append(make("dt", {}, "Margin"), make("dd", {}, `${margin.toFixed(2)} `, small("lead over the second class")));
  }
  return block("Uncertainty", list);
}

const small = (text) => make("span", { class: "small" }, text);

/** The labels that the true one is among with the stated coverage. */
function predictionSet(part) {
  const labels = Array.isArray(part) ? part : (part.labels ?? part.set ?? part.members);
  if (!Array.isArray(labels)) {
    return block("Prediction set", generic(part));
  }
  const rest = Array.isArray(part)
    ? {}
    : Object.fromEntries(Object.entries(part).filter(([name]) => !["labels", "set", "members", "coverage"].includes(name)));
  const chips = labels.map((label) => make("li", {}, String(label)));
  return block(
    "Prediction set",
    chips.length ? make("ul", { class: "chips" }, ...chips) : make("p", {}, "Empty: no label fits well enough."),
    Number.isFinite(part.coverage) ? small(`Made to hold the true label in ${percent(part.coverage)} of films.`) : null,
    Object.keys(rest).length ? generic(rest) : null,
  );
}

/** Any JSON value, readable: for parts that these pages do not know. */
export function generic(value) {
  if (Array.isArray(value)) {
    return value.every((one) => typeof one !== "object" || one === null)
      ? make("span", {}, value.map(plain).join(", ") || "none")
      : make("ul", { class: "plain" }, ...value.map((one) => make("li", {}, generic(one))));
  }
  if (typeof value === "object" && value !== null) {
    const rows = Object.entries(value).flatMap(([name, one]) => [make("dt", {}, title(name)), make("dd", {}, generic(one))]);
    return make("dl", { class: "facts" }, ...rows);
  }
  return make("span", {}, plain(value));
}

function plain(value) {
  if (typeof value === "number") {
    return String(Number.isInteger(value) ? value : Number(value.toPrecision(3)));
  }
  if (typeof value === "boolean") {
    return value ? "yes" : "no";
  }
  return value === null || value === undefined ? "none" : String(value);
}

function identity({ model, request_id: request }) {
  const list = make("dl", { class: "facts" });
  if (model) {
    list.append(
      make("dt", {}, "Model"), make("dd", {}, `${model.name} ${model.version}`),
      make("dt", {}, "Digest"), make("dd", {}, make("code", { title: model.digest }, String(model.digest).slice(0, SHORT))),
    );
  }
  if (request) {
    list.append(make("dt", {}, "Request"), make("dd", {}, make("code", {}, request)));
  }
  return block("Provenance", list);
}
