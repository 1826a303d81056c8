// The review page: flagged cases in a queue, one shown in full, decided by keyboard or pointer.

import { verdict, warnings } from "/static/answer.js";
import { alertUser, announce, make, showProblem } from "/static/common.js";
import { makeDecision, told } from "/static/decision.js";
import { predictionSet } from "/static/parts.js";
import { Queue } from "/static/queue.js";
import { bindShortcuts } from "/static/shortcuts.js";
import { hasKey, watchKey } from "/static/session.js";
import { makeViewer } from "/static/viewer.js";
import { meaningOf, percent, warning } from "/static/wording.js";

/** Start the page that is in the document; it ends when `signal` aborts. */
export function mount(signal) {
  const $ = (id) => document.getElementById(id);
  const queue = new Queue();
  const viewer = makeViewer($("viewer"));
  const decision = makeDecision(decide, signal);
  let shown = 0;  // counts what is shown, so that a picture that comes late is left out

  async function load(state, last = false) {
    alertUser("");
    try {
      await queue.load(state);
      showList();
      await select(0, { focus: last });
    } catch (problem) {
      fail(problem);
    }
  }

  async function more() {
    try {
      const before = queue.cases.length;
      await queue.more();
      showList();
      return queue.cases.length > before;
    } catch (problem) {
      fail(problem);
      return false;
    }
  }

  function fail(problem) {
    showProblem(problem);
    if (!queue.cases.length) {
      showNothing(hasKey() ? "The cases cannot be shown." : "Enter an API key of a radiologist to see the cases.");
    }
  }

  function showNothing(text) {
    $("case").hidden = true;
    $("no-case").hidden = false;
    $("no-case-text").textContent = text;
  }

  function showList() {
    $("tab-open").setAttribute("aria-pressed", String(queue.state === "open"));
    $("tab-decided").setAttribute("aria-pressed", String(queue.state === "decided"));
    $("count-open").textContent = queue.counts ? String(queue.counts.open) : "";
    $("count-decided").textContent = queue.counts ? String(queue.counts.decided) : "";
    $("more").hidden = queue.complete;
    $("queue-note").textContent = queue.cases.length ? "Oldest first." : "";
    $("cases").replaceChildren(...queue.cases.map(row));
  }

  function row(one, index) {
    const text = one.decision ? told(one) : `${one.prediction}, ${percent(one.confidence)}`;
    const button = make(
      "button",
      { type: "button", "aria-current": index === queue.index ? "true" : null },
      make("span", { class: "name" }, when(one)),
      make("span", { class: "state" }, text),
      make("span", { class: "state" }, one.reasons.map(meaningOf).join(", ")),
    );
    button.addEventListener("click", () => select(index, { focus: true }));
    return make("li", { "data-state": one.decision ? "done" : "waiting" }, button);
  }

  function when({ created }) {
    const date = new Date(typeof created === "number" ? created * 1000 : created);
    const year = date.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
    const text = date.toLocaleString([], { ...year, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
    return make("time", { datetime: date.toISOString() }, text);
  }

  /** Show the case at a place of the list. */
  async function select(index, { focus = false } = {}) {
    queue.index = index;
    for (const [place, button] of [...$("cases").querySelectorAll("button")].entries()) {
      button.toggleAttribute("aria-current", false);
      if (place === index) {
        button.setAttribute("aria-current", "true");
        button.scrollIntoView({ block: "nearest" });
      }
    }
    const one = queue.current;
    if (!one) {
      showNothing(queue.state === "open" ? "No open case: everything is decided." : "No decided case yet.");
      return;
    }
    $("no-case").hidden = true;
    $("case").hidden = false;
    $("case-title").textContent = `Case ${index + 1} of ${queue.total}`;
    $("previous").disabled = index === 0;
    $("next").disabled = index + 1 >= queue.cases.length && queue.complete;
    $("why").replaceChildren(...one.reasons.map((code) => warning(code, messageOf(one, code))));
    const others = one.warnings.filter(({ code }) => !one.reasons.includes(code));
    $("model-answer").replaceChildren(...[verdict(one, true), predictionSet(one.parts?.prediction_sets)].filter(Boolean));
    $("more-warnings").replaceChildren(...[warnings(others)].filter(Boolean));
    decision.show(one);
    if (focus) {
      $("case-title").focus({ preventScroll: true });
      announce(`Case ${index + 1} of ${queue.total}: ${one.prediction}, ${percent(one.confidence)}.`);
    }
    await showPictures(one);
  }

  const messageOf = (one, code) => one.warnings.find((each) => each.code === code)?.message ?? "";

  async function showPictures(one) {
    const turn = ++shown;
    viewer.resetTone();
    viewer.setFilm("", "", "Loading the film.");
    viewer.setHeat("");
    try {
      const film = await queue.film(one.id);
      if (turn !== shown) {
        return;
      }
      viewer.setFilm(film, `Film of case ${queue.index + 1}`, "The film cannot be drawn.");
      await showHeat(one, turn);
      queue.prefetch();
    } catch (problem) {
      if (turn === shown) {
        viewer.setFilm("", "", "The film cannot be shown.");
        showProblem(problem);
      }
    }
  }

  async function showHeat(one, turn) {
    let heat = "";
    let why = "";
    try {
      heat = await queue.heat(one.id);
    } catch (problem) {
      if (problem.status !== 404) {
        throw problem;
      }
      why = problem.detail;
    }
    if (turn === shown) {
      viewer.setHeat(heat, `Heat map for ${one.prediction}`, why);
    }
  }

  async function decide(action, label, comment) {
    const one = queue.current;
    decision.setBusy(true);
    try {
      await queue.decide(one, action, label, comment);
      alertUser("");
      showList();
      const next = queue.nextOpen();
      announce(told(one));
      if (next === null && queue.state === "open" && !queue.complete && (await more())) {
        await select(queue.nextOpen() ?? queue.index, { focus: true });
      } else {
        await select(next ?? queue.index, { focus: true });
      }
      announce(`${told(one)} ${queue.counts.open} open.`);
    } catch (problem) {
      decision.setBusy(false);
      showProblem(problem);
    }
  }

  async function move(step) {
    const to = queue.index + step;
    if (to >= queue.cases.length && !queue.complete) {
      await more();
    }
    if (to >= 0 && to < queue.cases.length) {
      await select(to, { focus: true });
    } else {
      announce(step > 0 ? "This is the last case." : "This is the first case.");
    }
  }

  const on = (id, type, listener) => $(id).addEventListener(type, listener, { signal });
  on("tab-open", "click", () => hasKey() && load("open"));
  on("tab-decided", "click", () => hasKey() && load("decided"));
  on("more", "click", more);
  on("previous", "click", () => move(-1));
  on("next", "click", () => move(1));
  bindShortcuts({ move, decision, viewer, active: () => !$("case").hidden }, signal);
  watchKey((there) => {
    if (there) {
      load("open", true);
    } else {
      shown += 1;
      queue.clear();
      showList();
      showNothing("Enter an API key of a radiologist to see the cases.");
    }
  }, signal);
  signal.addEventListener("abort", () => queue.clear());
  if (hasKey()) {
    load("open");
  }
}
