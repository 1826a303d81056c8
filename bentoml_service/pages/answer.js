// An answer of the service as elements: what to read first, prediction, probabilities, set, warnings, parts, model.

import { make } from "/static/common.js";
import { legend, notices, otherParts, others, predictionSet, screening } from "/static/parts.js";
import { block, percent, small, warning } from "/static/wording.js";

const SHORT = 12;  // digits of a digest that are shown; the whole is in its title

const within = (share) => `${100 * Math.min(Math.max(share, 0), 1)}%`;

/** Bars of the probabilities; the number is text, the bar is decoration, and so is the mark of a threshold on it. */
export function bars(probabilities, chosen, point = null) {
  const rows = Object.entries(probabilities).map(([label, share]) => {
    const fill = make("span", { class: "fill" });
    fill.style.width = within(share);
    const mark = point?.label === label ? make("span", { class: "mark" }) : null;
    if (mark) {
      mark.style.left = within(point.threshold);
    }
    return make(
      "li",
      { class: label === chosen ? "chosen" : null },
      make("span", { class: "name" }, label),
      make("span", { class: "track", "aria-hidden": "true" }, fill, mark),
      make("span", { class: "value" }, percent(share)),
    );
  });
  return make("ul", { class: "bars", "aria-label": "Probabilities" }, ...rows);
}

/**
 * Prediction, confidence and probabilities: what an answer and a case have in common.
 * @param {boolean} alone whether nothing else on the page tells of the TB flag
 */
export function verdict(answer, alone = false) {
  return make(
    "div",
    { class: "verdict" },
    make("h3", { class: "prediction" }, answer.prediction),
    make("p", {}, `Confidence ${percent(answer.confidence)}`),
    bars(answer.probabilities, answer.prediction, screening(answer)),
    legend(answer, alone),
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
  return [
    notices(answer),
    verdict(answer),
    predictionSet(answer.parts?.prediction_sets),
    warnings(others(answer.warnings)),
    answer.review?.case
      ? block("Kept for a reader", make("p", {}, make("a", { href: "/review", "data-page": "review" }, "In the review queue")))
      : null,
    answer.uncertainty ? uncertainty(answer.uncertainty) : null,
    ...otherParts(answer.parts),
    identity(answer),
  ].filter(Boolean);
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
