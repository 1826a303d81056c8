// A film with its heat map over it: opacity, brightness and contrast by sliders. Both fill the same square, in which the
// film is centred, as the model's own frame is (longest side fitted), so the heat map lies where it belongs.

import { make } from "/static/common.js";

const HEAT = 40;  // percent, at first

/** Build a viewer inside `place`. */
export function makeViewer(place) {
  const film = make("img", { class: "film", alt: "", hidden: true });
  const heat = make("img", { class: "heat", alt: "", hidden: true });
  const empty = make("p", { class: "empty" });
  const stage = make("div", { class: "stage" }, film, heat, empty);
  const opacity = slider("Heat map", 0, 100, HEAT, () => (heat.style.opacity = String(opacity.input.value / 100)));
  const brightness = slider("Brightness", 40, 250, 100, () => tone());
  const contrast = slider("Contrast", 40, 300, 100, () => tone());
  const reset = make("button", { type: "button", class: "quiet" }, "Reset film");
  const note = make("p", { class: "small note", hidden: true });
  const tools = make("div", { class: "tools" }, opacity.root, brightness.root, contrast.root, reset, note);
  place.replaceChildren(stage, tools);
  let shown = HEAT;

  function tone() {
    film.style.filter = `brightness(${brightness.input.value}%) contrast(${contrast.input.value}%)`;
  }

  function resetTone() {
    brightness.set(100);
    contrast.set(100);
  }

  reset.addEventListener("click", resetTone);
  film.addEventListener("error", () => {
    film.hidden = true;
    empty.hidden = false;
  });
  opacity.set(HEAT);
  opacity.input.disabled = true;

  return {
    stage,
    tools,
    /** Show a film by its address, or the sentence `otherwise` where there is none or it cannot be drawn. */
    setFilm(url, alt, otherwise = "") {
      empty.textContent = otherwise;
      empty.hidden = Boolean(url);
      film.hidden = !url;
      film.alt = alt;
      if (url) {
        film.src = url;
      } else {
        film.removeAttribute("src");
      }
    },
    /** Show a heat map by its address, or none and why. */
    setHeat(url, alt = "", why = "") {
      note.hidden = !why;
      note.textContent = why;
      heat.hidden = !url;
      heat.alt = alt;
      opacity.input.disabled = !url;
      if (url) {
        heat.src = url;
      } else {
        heat.removeAttribute("src");
      }
    },
    /** Heat map off, or back to the opacity it had. */
    toggleHeat() {
      const now = Number(opacity.input.value);
      if (now > 0) {
        shown = now;
      }
      opacity.set(now > 0 ? 0 : shown);
    },
    resetTone,
  };
}

function slider(name, low, high, value, changed) {
  const input = make("input", { type: "range", min: low, max: high, step: 5, value });
  const output = make("span", { class: "value", "aria-hidden": "true" }, `${value} %`);  // its aria-valuetext says it
  const root = make("label", { class: "slider" }, make("span", {}, name), output, input);
  const show = () => {
    output.textContent = `${input.value} %`;
    input.setAttribute("aria-valuetext", `${input.value} percent`);
    changed();
  };
  input.addEventListener("input", show);
  return {
    root,
    input,
    set(to) {
      input.value = String(to);
      show();
    },
  };
}
