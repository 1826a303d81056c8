// The reader's decision on one case: accept, correct to another label, with a comment.

import { make } from "/static/common.js";

/**
 * Bind the form of the review page.
 * @param {(action: string, label: string?, comment: string) => void} decided called with what the reader wants saved
 * @param {AbortSignal} signal ends it
 */
export function makeDecision(decided, signal) {
  const $ = (id) => document.getElementById(id);
  let shown = null;

  function choose(number) {
    const radios = [...$("labels").querySelectorAll("input")];
    const radio = radios[number - 1];
    if (radio) {
      radio.checked = true;
      radio.focus();
      update();
    }
    return radio?.value;
  }

  const chosen = () => $("labels").querySelector("input:checked")?.value;

  function update() {
    $("correct").disabled = !chosen() || busy;
    $("accept").disabled = busy;
    for (const control of $("labels").querySelectorAll("input")) {
      control.disabled = busy;
    }
    const same = chosen() === shown?.prediction;
    $("correct").firstChild.textContent = same ? `Save as ${chosen()} ` : "Save correction ";
  }

  let busy = false;

  const send = (action, label = null) => !busy && decided(action, label, $("comment").value.trim());

  function correct() {
    const label = chosen();
    if (label) {
      send(...(label === shown.prediction ? ["accept"] : ["correct", label]));
    }
  }

  $("accept").addEventListener("click", () => send("accept"), { signal });
  $("correct").addEventListener("click", correct, { signal });
  $("labels").addEventListener("change", update, { signal });

  return {
    /** Fill the form for a case: its labels, and what was decided before. */
    show(one) {
      shown = one;
      busy = false;
      const legend = make("legend", {}, "Or correct to");
      const options = Object.keys(one.probabilities).map((label, index) => {
        const radio = make("input", { type: "radio", name: "label", value: label });
        radio.checked = one.decision?.action === "correct" && one.decision.label === label;
        return make("label", { class: "option" }, radio, make("span", {}, label), make("kbd", {}, String(index + 1)));
      });
      $("labels").replaceChildren(legend, ...options);
      $("accept").replaceChildren(`Accept ${one.prediction} `, make("kbd", {}, "A"));
      $("comment").value = one.decision?.comment ?? "";
      $("decided").hidden = !one.decision;
      $("decided").textContent = one.decision ? `${told(one)} You can change it.` : "";
      update();
    },
    setBusy(now) {
      busy = now;
      update();
    },
    choose,
    correct,
    accept: () => send("accept"),
  };
}

/** A decision in words. */
export function told({ decision, prediction }) {
  const by = decision.by ? `, by ${decision.by}` : "";
  return decision.action === "accept" ? `Accepted as ${prediction}${by}.` : `Corrected to ${decision.label}${by}.`;
}
