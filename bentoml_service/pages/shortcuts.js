// The single keys of the review page and the list of them. They can be switched off, for those who dictate.

/**
 * @param {{move: (step: number) => void, decision: object, viewer: object, active: () => boolean}} page what they act on
 * @param {AbortSignal} signal ends it
 */
export function bindShortcuts({ move, decision, viewer, active }, signal) {
  const $ = (id) => document.getElementById(id);
  const help = $("help");

  const actions = {
    j: () => move(1),
    ArrowDown: () => move(1),
    ArrowRight: () => move(1),
    k: () => move(-1),
    ArrowUp: () => move(-1),
    ArrowLeft: () => move(-1),
    a: () => decision.accept(),
    c: () => $("comment").focus(),
    h: () => viewer.toggleHeat(),
    r: () => viewer.resetTone(),
  };

  function openHelp() {
    help.showModal();
    $("help-close").focus();
  }

  function pressed(event) {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || help.open) {
      return;
    }
    if (target === $("comment")) {
      if (key === "Escape") {
        $("case-title").focus({ preventScroll: true });
      }
      return;
    }
    if (target.matches("input:not([type=radio], [type=range]), textarea, select")) {
      return;
    }
    if (key === "?") {
      event.preventDefault();
      openHelp();
      return;
    }
    if (!active() || !$("keys-on").checked || event.repeat) {
      return;
    }
    if (key.startsWith("Arrow") && target.matches("input")) {
      return;  // sliders and radio buttons have their own use for arrows
    }
    const onControl = target.matches("button, a");
    if (key === "Enter" && !onControl) {
      event.preventDefault();
      decision.correct();
    } else if (/^[1-9]$/.test(key)) {
      event.preventDefault();
      decision.choose(Number(key));
    } else {
      const act = actions[key.length === 1 ? key.toLowerCase() : key];
      if (act) {
        event.preventDefault();
        act();
      }
    }
  }

  document.addEventListener("keydown", pressed, { signal });
  $("help-open").addEventListener("click", openHelp, { signal });
  $("help-close").addEventListener("click", () => help.close(), { signal });
  signal.addEventListener("abort", () => help.close());
}
