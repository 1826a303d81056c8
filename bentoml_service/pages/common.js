// What both pages share: building elements, messages, the key field, and going from page to page without losing the key.

import { forgetKey, hasKey, sentence, servedModel, useKey, watchKey } from "/static/session.js";

const $ = (id) => document.getElementById(id);
const PAGES = { predict: () => import("/static/predict.js"), review: () => import("/static/review.js") };

let mounted = null;  // AbortController of the page on show

/** Make an element: `make("li", { class: "a" }, "text", child)`; text is never read as HTML. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Say something to a screen reader. */
export function announce(text) {
  $("live").textContent = text;
}

/** Show a message at the top; an empty one takes it away. */
export function alertUser(text) {
  $("alert").hidden = !text;
  $("alert-text").textContent = text;
}

/** Show what went wrong; a refused key sends the reader to the key field. */
export function showProblem(problem) {
  if (problem.name === "AbortError") {
    return;
  }
  alertUser(sentence(problem));
  if (problem.status === 401) {
    $("key").focus();
  }
}

function showKeyState() {
  $("key-entry").hidden = hasKey();
  $("key-in-use").hidden = !hasKey();
  const model = servedModel();
  $("key-state").textContent = model ? `Model ${model.name} ${model.version}` : "";
}

async function takeKey() {
  const field = $("key");
  const entered = field.value;
  const button = $("key-use");
  button.disabled = true;
  try {
    await useKey(entered);
    field.value = "";
    alertUser("");
    announce("The key is accepted.");
    $("main").focus({ preventScroll: true });
  } catch (problem) {
    showProblem(problem);
    field.focus();
    field.select();
  } finally {
    button.disabled = false;
  }
}

async function mount() {
  mounted?.abort();
  mounted = new AbortController();
  const name = $("main").dataset.page;
  for (const link of document.querySelectorAll("nav a")) {
    link.toggleAttribute("aria-current", false);
    if (link.dataset.page === name) {
      link.setAttribute("aria-current", "page");
    }
  }
  const { mount: start } = await PAGES[name]();
  start(mounted.signal);
}

/** Put the other page's content in place of this one's, so that the key need not be entered again. */
async function go(path, push) {
  const other = await loadPage(path);
  const main = other.getElementById("main");
  if (push) {
    history.pushState(null, "", path);
  }
  document.title = other.title;
  alertUser("");
  $("main").replaceWith(document.adoptNode(main));
  await mount();
  $("main").focus({ preventScroll: true });
  window.scrollTo(0, 0);
  announce(document.title);
}

/** The document at `path`, never run. The browser parses it by itself: Trusted Types forbid the page to do so. */
function loadPage(path) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", path);
    request.responseType = "document";
    request.addEventListener("error", reject);
    request.addEventListener("load", () => {
      const page = request.status === 200 ? request.responseXML : null;
      return page?.getElementById("main") ? resolve(page) : reject(new Error("not a page"));
    });
    request.send();
  });
}

function follow(event) {
  const plain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
  const link = event.target.closest?.("a[data-page]");
  if (!link || !plain) {
    return;
  }
  event.preventDefault();
  if (link.dataset.page !== $("main").dataset.page) {
    const path = link.getAttribute("href");
    go(path, true).catch(() => location.assign(path));
  }
}

$("key-use").addEventListener("click", takeKey);
$("key").addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    takeKey();
  }
});
$("key-forget").addEventListener("click", () => {
  forgetKey(true);
  announce("The key is forgotten.");
  $("key").focus();
});
$("alert-close").addEventListener("click", () => alertUser(""));
document.addEventListener("click", follow);
window.addEventListener("popstate", () => go(location.pathname, false).catch(() => location.reload()));
window.addEventListener("pagehide", () => {  // a page that the browser keeps for "back" keeps no key
  $("key").value = "";
  forgetKey(true);
});
watchKey(showKeyState, new AbortController().signal);
showKeyState();
mount();
