// What the optional parts of the model package add to an answer: flags at operating points, prediction set, the others.

import { make } from "/static/common.js";
import { block, explained, percent, small, title } from "/static/wording.js";

const SCREENING = "tb_sensitivity_90";  // the operating point of the TB flag: sensitivity 90 % on validation (WHO)
const PROMINENT = ["not_a_chest_film", "tb_flag"];  // warnings that stand above the answer

/** The operating point that the TB flag is about, where the model has it. */
export function screening(answer) {
  const point = answer.parts?.operating_points?.[SCREENING];
  return point && Number.isFinite(point.threshold) ? point : null;
}

/** Whether a film is flagged for tuberculosis, whatever was predicted. */
export const flagged = (answer) => screening(answer)?.flagged === true;

/** What must be read before the prediction: no chest film, TB flag; null where there is nothing. */
export function notices(answer) {
  const found = PROMINENT.flatMap((code) => (answer.warnings ?? []).filter((one) => one.code === code));
  const items = found.map((one) =>
    make("li", { class: one.code === "tb_flag" ? "flag" : "stop" }, ...explained(one.code, one.message)));
  if (flagged(answer) && !found.some(({ code }) => code === "tb_flag")) {
    items.push(make("li", { class: "flag" }, make("strong", {}, "TB flag"), make("span", {}, standing(screening(answer)))));
  }
  return items.length ? make("ul", { class: "notices", "aria-label": "Read first" }, ...items) : null;
}

/** The warnings that :func:`notices` does not show. */
export const others = (warnings) => (warnings ?? []).filter(({ code }) => !PROMINENT.includes(code));

function standing({ label, probability, threshold, flagged: reached }) {
  return glued(`${label} ${percent(probability)} is ${reached ? "at or above" : "below"} the threshold of ${percent(threshold)}.`);
}

const glued = (text) => text.replaceAll(" %", "\u00a0%");  // no line ends between a number and its sign

/**
 * What stands below the probabilities: the mark on a bar in words, and how they were calibrated.
 * @param {boolean} alone whether nothing else on the page tells of the TB flag
 */
export function legend(answer, alone) {
  const point = screening(answer);
  const calibration = answer.parts?.calibration;
  const lines = [];
  if (point && point.flagged && alone) {
    lines.push(make("p", { class: "flagged" }, make("strong", {}, "TB flag: "), standing(point)));
  } else if (point) {
    const mark = glued(`The mark is the threshold of the TB flag, ${percent(point.threshold)}.`);
    const not = answer.prediction === point.label ? "Predicted, yet without the TB flag" : "No TB flag";
    lines.push(make("p", { class: "small" }, point.flagged ? mark : `${not}: ${standing(point)}`));
  }
  if (calibration) {
    const how = `Calibrated on ${calibration.films} films (temperature ${number(calibration.temperature)}).`;
    lines.push(make("p", { class: "small" }, calibration.fitted ? how : "Not calibrated: the films did not decide a temperature."));
  }
  return lines.length ? make("div", { class: "legend" }, ...lines) : null;
}

/** The labels that the true one is among at the promised level; null where the model has no sets. */
export function predictionSet(part) {
  if (!Array.isArray(part?.labels)) {
    return null;
  }
  const chips = part.labels.map((label) => make("li", {}, String(label)));
  const same = !Array.isArray(part.marginal) || String(part.marginal) === String(part.labels);
  const films = part.kind === "class_conditional" ? "the films of each class" : "all films";
  const promise = `Made to hold the true label in ${Number((100 * part.level).toPrecision(3))}\u00a0% of ${films}`;
  return block(
    "Prediction set",
    chips.length
      ? make("ul", { class: "chips", "aria-label": "Prediction set" }, ...chips)
      : make("p", {}, "Empty: none of the classes fits."),
    small(same ? `${promise}.` : `${promise}; for all films together it would be ${part.marginal.join(", ") || "empty"}.`),
  );
}

/** Every operating point with its threshold, and whether it is reached. */
export function operatingPoints(points) {
  const list = make("dl", { class: "facts points" });
  for (const [name, one] of Object.entries(points)) {
    list.append(
      make("dt", {}, nameOf(name, one)),
      make("dd", {}, glued(`${percent(one.threshold)}: ${one.flagged ? "reached" : "not reached"}`)),
    );
  }
  return block("Operating points", small("Threshold of each, and whether the film reaches it."), list);
}

function nameOf(name, { label }) {
  const aimed = /^tb_sensitivity_(\d+)$/.exec(name);
  if (aimed) {
    return glued(`${label}, sensitivity ${aimed[1]} %`);
  }
  return name.startsWith("youden_") ? `${label}, Youden` : title(name);
}

/** The parts that have no place of their own above. */
export function otherParts(parts) {
  const { calibration, prediction_sets: sets, operating_points: points, ...rest } = parts ?? {};
  return [
    points && Object.keys(points).length ? operatingPoints(points) : null,
    ...Object.entries(rest).map(([name, value]) => block(title(name), generic(value))),
  ];
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

const number = (value) => String(Number.isInteger(value) ? value : Number(value.toPrecision(3)));

function plain(value) {
  if (typeof value === "number") {
    return number(value);
  }
  if (typeof value === "boolean") {
    return value ? "yes" : "no";
  }
  return value === null || value === undefined ? "none" : String(value);
}
