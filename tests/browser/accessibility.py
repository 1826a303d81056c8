"""An automated look at what a page is to those who see little, use no mouse, or hear it read."""

from __future__ import annotations

from typing import Any

__all__ = ["assert_accessible", "assert_focus_is_seen"]

_CONTROLS = {"button", "link", "textbox", "slider", "radio", "checkbox", "combobox", "dialog", "image", "progressbar"}
_RATIO = 4.5  # WCAG 2.2, 1.4.3
_TARGET = 44  # CSS pixels; WCAG 2.2, 2.5.5

# Contrast of each visible text with what lies behind it, by the formulas of WCAG 2.2.
_CONTRAST = """() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const light = ([r, g, b]) => [r, g, b]
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, channel) => sum + value * [0.2126, 0.7152, 0.0722][channel], 0);
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim();
    if (!text || !element.checkVisibility() || element.closest(":disabled, label:has(:disabled), .hidden, noscript")) {
      continue;
    }
    const back = behind(element);
    const [x, y] = [light(over(parse(getComputedStyle(element).color), back)), light(back)];
    found.push([text.slice(0, 40), (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05)]);
  }
  return found;
}"""

_TARGETS = """() => [...document.querySelectorAll("button, a, input, textarea")]
  .filter((control) => control.checkVisibility() && !control.matches(".skip"))
  .map((control) => {
    const { width, height } = (control.closest("label") ?? control).getBoundingClientRect();
    return [control.outerHTML.slice(0, 80), width, height];
  })"""

_FOCUS = """() => {
  const at = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(at);
  const box = at.getBoundingClientRect();
  const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const known = (window.focusStops ??= new Set()).has(at) || at === document.body;
  window.focusStops.add(at);
  return [known ? "" : at.outerHTML.slice(0, 120), outlineStyle, parseFloat(outlineWidth), inside];
}"""


def assert_accessible(page: Any) -> None:
    """Names, contrast, target sizes, language, headings, and no sideways scrolling."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in _CONTROLS]
    assert len(controls) >= 3
    nameless = [node["backendDOMNodeId"] for node in controls if not node.get("name", {}).get("value", "").strip()]
    html = [session.send("DOM.getOuterHTML", {"backendNodeId": node})["outerHTML"] for node in nameless]
    assert not html, html
    texts = page.evaluate(_CONTRAST)
    assert len(texts) > 5
    faint = [(text, round(ratio, 2)) for text, ratio in texts if ratio < _RATIO]
    assert not faint, faint
    small = [entry for entry in page.evaluate(_TARGETS) if min(entry[1:]) < _TARGET - 0.5]
    assert not small, small
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.get_by_text("For research use; not a medical device.").first.is_visible()


def assert_focus_is_seen(page: Any) -> int:
    """Walk through the page by Tab: every stop is on the screen with an outline; returns how many there are."""
    page.evaluate("() => { document.querySelector('.skip').focus(); window.focusStops = new Set(); }")
    for stops in range(200):
        page.keyboard.press("Tab")
        element, style, width, inside = page.evaluate(_FOCUS)
        if not element:  # round once
            return stops
        assert style not in ("none", "hidden"), element
        assert width >= 2, element
        assert inside, element
    raise AssertionError("Tab never comes round")
