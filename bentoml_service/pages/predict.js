// The predict page: films come in by drop, button, paste or sample; a list keeps their order; one is shown in full.

import { alertUser, announce, make, showProblem } from "/static/common.js";
import { Films } from "/static/films.js";
import { flagged } from "/static/parts.js";
import { STATES, makeResult } from "/static/result.js";
import { hasKey, seconds, watchKey } from "/static/session.js";
import { percent } from "/static/wording.js";

/** Start the page that is in the document; it ends when `signal` aborts. */
export function mount(signal) {
  const $ = (id) => document.getElementById(id);
  const films = new Films(changed, waiting, showProblem);
  const rows = new Map();  // id of a film to its row and the address of its picture
  const result = makeResult(films, signal);
  let current = null;

  function add(files, names) {
    if (!files.length) {
      return;
    }
    const [first] = films.add(files, names);
    if (!current || current.state === "done" || current.state === "refused") {
      select(first);
    }
    announce(`${films.list.length} films in the list.`);
    if (!hasKey()) {
      alertUser("Enter an API key to send the films.");
    }
  }

  function changed(film) {
    if (signal.aborted) {
      return;
    }
    if (film === null) {
      const there = new Set(films.list.map(({ id }) => id));
      for (const [id, row] of rows) {
        if (!there.has(id)) {
          row.root.remove();
          URL.revokeObjectURL(row.url);
          rows.delete(id);
        }
      }
      for (const one of films.list) {
        showRow(one);
      }
    } else if (films.list.includes(film)) {
      showRow(film);
    }
    showProgress();
    if (film === null ? !films.list.includes(current) : film === current) {
      select(films.list.includes(current) ? current : null);
    }
  }

  function showRow(film) {
    let row = rows.get(film.id);
    if (!row) {
      const name = make("span", { class: "name" }, film.name);
      const state = make("span", { class: "state" });
      const button = make("button", { type: "button" }, name, state);
      button.addEventListener("click", () => select(film, true));
      row = { root: make("li", {}, button), button, state, url: URL.createObjectURL(film.file) };
      rows.set(film.id, row);
      $("list").append(row.root);
    }
    row.root.dataset.state = film.state;
    row.state.textContent = stateText(film);
  }

  function stateText({ state, answer, problem }) {
    if (state === "done") {
      const count = answer.warnings?.length ?? 0;
      const warned = count ? `, ${count === 1 ? "1 warning" : `${count} warnings`}` : "";
      return `${answer.prediction}, ${percent(answer.confidence)}${flagged(answer) ? ", TB flag" : ""}${warned}`;
    }
    return problem ? `${STATES[state]}: ${problem.detail}` : STATES[state];
  }

  function showProgress() {
    const total = films.list.length;
    const ended = films.count("done", "refused", "failed");
    const busy = films.running && films.count("waiting", "sending") > 0 && hasKey();
    $("films-section").hidden = total === 0;
    $("stop").hidden = !busy;
    $("retry").hidden = busy || films.count("failed") === 0;
    $("progress").hidden = total < 2;
    $("bar").max = Math.max(total, 1);
    $("bar").value = ended;
    const refused = films.count("refused", "failed");
    const text = `${films.count("done")} of ${total} done${refused ? `, ${refused} not` : ""}`;
    if ($("progress-text").textContent !== text) {
      $("progress-text").textContent = text;
      if (total > 1 && ended === total) {
        announce(text);
      }
    }
  }

  function waiting(left) {
    alertUser(left ? `The service asks for a pause. Going on in ${seconds(left)}.` : "");
  }

  function select(film, byReader = false) {
    current = film;
    for (const [id, { button }] of rows) {
      button.toggleAttribute("aria-current", false);
      if (id === film?.id) {
        button.setAttribute("aria-current", "true");
      }
    }
    result.show(film, film && rows.get(film.id).url);
    if (byReader) {
      $("detail").scrollIntoView({ block: "nearest" });
    }
  }

  async function addSample(button) {
    const name = button.dataset.sample;
    try {
      const answer = await fetch(`/static/samples/${name}.png`, { signal, credentials: "omit" });
      if (!answer.ok) {
        throw new Error("no sample");
      }
      add([await answer.blob()], [`Synthetic film: ${button.textContent.trim().toLowerCase()}`]);
    } catch (error) {
      if (error.name !== "AbortError") {
        alertUser("The synthetic film cannot be loaded. See that the service runs.");
      }
    }
  }

  function moveInList(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const buttons = [...$("list").querySelectorAll("button")];
    const place = buttons.indexOf(document.activeElement);
    const next = buttons[place + step];
    if (step && place >= 0 && next) {
      event.preventDefault();
      next.focus();
      next.click();
    }
  }

  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

  function drag(event) {
    if (holdsFiles(event)) {
      event.preventDefault();
      $("drop").classList.toggle("over", event.type !== "drop");
    }
    if (event.type === "drop" && event.dataTransfer?.files.length) {
      add(event.dataTransfer.files);
    }
  }

  function dragLeave(event) {
    if (!event.relatedTarget) {  // out of the window
      $("drop").classList.remove("over");
    }
  }

  function paste(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) {
      event.preventDefault();
      add(files, files.map(({ name }) => name || "Pasted image"));
    }
  }

  const on = (target, type, listener) => target.addEventListener(type, listener, { signal });
  on($("choose"), "click", () => $("files").click());
  on($("files"), "change", () => {
    add($("files").files);
    $("files").value = "";
  });
  for (const button of $("samples").querySelectorAll("button")) {
    on(button, "click", () => addSample(button));
  }
  on($("list"), "keydown", moveInList);
  on($("stop"), "click", () => films.stop());
  on($("retry"), "click", () => films.retry());
  on($("clear"), "click", () => {
    films.clear();
    announce("The list is empty.");
    $("choose").focus();
  });
  for (const type of ["dragenter", "dragover", "drop"]) {
    on(document, type, drag);
  }
  on(document, "dragleave", dragLeave);
  on(document, "paste", paste);
  watchKey((there, byReader) => {
    if (there) {
      films.explains = true;
      films.run();
    } else if (byReader) {  // who leaves takes the films along
      films.clear();
    }
    changed(null);
  }, signal);
  signal.addEventListener("abort", () => {
    films.clear();
    for (const { url } of rows.values()) {
      URL.revokeObjectURL(url);
    }
  });
  select(null);
}
