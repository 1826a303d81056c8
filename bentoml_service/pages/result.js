// One film of the predict page in full: the picture with heat maps on demand, and the answer or the reason of a refusal.

import { answerParts } from "/static/answer.js";
import { announce, make, showProblem } from "/static/common.js";
import { hasKey, sentence, servedModel } from "/static/session.js";
import { makeViewer } from "/static/viewer.js";

export const STATES = { waiting: "Waiting", sending: "Sending", done: "Done", refused: "Refused", failed: "Failed" };

/**
 * Bind the section that shows a film.
 * @param {Films} films asked for heat maps
 * @param {AbortSignal} signal ends it
 */
export function makeResult(films, signal) {
  const $ = (id) => document.getElementById(id);
  const viewer = makeViewer($("viewer"));
  const maps = make("div", { class: "maps", role: "group", "aria-label": "Heat map" });
  viewer.tools.prepend(maps);
  let current = null;
  let address = "";

  /** Show a film whose bytes are at `url`, or that none is chosen (null). */
  function show(film, url) {
    const other = film !== current;
    current = film;
    address = url;
    $("nothing").hidden = Boolean(film);
    $("shown").hidden = !film;
    $("detail-title").textContent = film ? film.name : "Result";
    if (!film) {
      viewer.setFilm("", "");
      viewer.setHeat("");
      return;
    }
    if (other) {
      viewer.resetTone();
      viewer.setFilm("", "");
      viewer.setHeat("");
    }
    showFilm(film, url);
    $("answer").replaceChildren(...answerOf(film));
  }

  function showFilm(film, url) {
    if (film.drawable === undefined) {  // only trying tells whether this browser draws it
      film.drawable = null;
      const trial = new Image();
      const settle = (drawable) => {
        film.drawable = drawable;
        paint(film, url);
      };
      trial.addEventListener("load", () => settle(true));
      trial.addEventListener("error", () => settle(false));
      trial.src = url;
    }
    paint(film, url);
    showMaps(film, mapOf(film));
  }

  const mapOf = (film) => film.maps.get(film.label) ?? film.maps.values().next().value;

  function paint(film, url) {
    if (film !== current || film.drawable === null) {
      return;
    }
    const map = mapOf(film);
    $("viewer").hidden = Boolean(film.problem) && !film.drawable;
    viewer.setFilm(film.drawable ? url : (map?.frame ?? ""), `Film ${film.name}`, unseen(film));
    viewer.setHeat(map ? map.overlay : "", map ? `Heat map for ${map.label}` : "");
  }

  const unseen = (film) =>
    film.state === "done" && films.canExplain()
      ? "Browsers cannot draw this kind of file. Ask for a heat map to see it as the model does."
      : "Browsers cannot draw this kind of file.";

  function showMaps(film, map) {
    if (film.state !== "done" || !films.canExplain()) {
      const why = film.state === "done" ? "This model package has no heat maps." : "";
      maps.replaceChildren(make("span", { class: "small" }, why));
      return;
    }
    const labels = servedModel()?.labels ?? Object.keys(film.answer.probabilities);
    const buttons = labels.map((label) => {
      const button = make("button", { type: "button", class: "quiet", "aria-pressed": String(map?.label === label) }, label);
      button.addEventListener("click", () => askMap(film, label, button));
      return button;
    });
    maps.replaceChildren(make("span", {}, "Heat map for"), ...buttons);
  }

  async function askMap(film, label, button) {
    film.label = label;
    if (film.maps.has(label)) {
      show(film, address);
      focusMap(label);
      return;
    }
    button.disabled = true;
    announce(`Asking for the heat map of ${label}.`);
    try {
      await films.patiently(() => films.explain(film, label, signal), signal);
      announce(`Heat map of ${label} shown.`);
    } catch (problem) {
      film.label = undefined;
      if (problem.code === "part_missing") {
        films.explains = false;
      }
      showProblem(problem);
      show(film, address);
    }
    focusMap(label);
  }

  function focusMap(label) {
    [...maps.querySelectorAll("button")].find((one) => one.textContent === label)?.focus();
  }

  function answerOf(film) {
    if (film.state === "done") {
      return answerParts(film.answer);
    }
    if (!film.problem) {
      return [make("p", { class: "small" }, hasKey() ? `${STATES[film.state]}.` : "Waiting for an API key.")];
    }
    const request = film.problem.requestId;
    return [
      make("h3", {}, STATES[film.state]),
      make("p", { class: "reason" }, sentence(film.problem)),
      request ? make("p", { class: "small" }, "Request ", make("code", {}, request)) : "",
    ];
  }

  return { show };
}
