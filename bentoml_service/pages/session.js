// The API key and every call to the service. The key lives in the variable below and nowhere else: not in storage, not
// in a cookie, not in an address.

let key = "";
let model = null;
const watchers = new Set();

/** An answer that is not the one asked for: RFC 9457 problem details, or no answer at all (status 0). */
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body.detail || "The service could not serve the request.");
    this.status = status;
    this.code = body.code || "";
    this.detail = this.message;
    this.requestId = body.request_id || "";
    this.items = Array.isArray(body.items) ? body.items : null;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later. */
  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status === 503;
  }
}

export const hasKey = () => key !== "";

/** What GET /model said when the key was first used, or null. */
export const servedModel = () => model;

/** Call `watcher(hasKey, byReader)` at each change of the key until `signal` aborts. */
export function watchKey(watcher, signal) {
  watchers.add(watcher);
  signal.addEventListener("abort", () => watchers.delete(watcher));
}

/** Take a key and ask the service what it serves; throws a Problem and keeps no key if it is refused. */
export async function useKey(entered) {
  const wanted = entered.trim();
  if (!wanted) {
    throw new Problem(401, { code: "no_key", detail: "Enter an API key first." });
  }
  if (!/^[\x21-\x7e]{1,512}$/.test(wanted)) {
    throw new Problem(401, { code: "no_key", detail: "An API key has no spaces and only plain letters, digits and signs." });
  }
  key = wanted;
  try {
    model = await ask("/model");
  } catch (problem) {
    key = "";
    throw problem;
  }
  tell();
}

/** Drop the key, because the reader wants it or because the service refuses it. */
export function forgetKey(byReader = false) {
  key = "";
  model = null;
  tell(byReader);
}

function tell(byReader = false) {
  for (const watcher of [...watchers]) {
    watcher(hasKey(), byReader);
  }
}

/**
 * Call the service with the key.
 * @param {string} path of a route of this origin
 * @param {{method?: string, body?: BodyInit, headers?: object, signal?: AbortSignal, as?: "json" | "blob"}} options
 * @returns the JSON, or the blob; throws a Problem, or the abort error of `signal`
 */
export async function ask(path, { method = "GET", body, headers = {}, signal, as = "json" } = {}) {
  if (!key) {
    throw new Problem(401, { code: "no_key", detail: "Enter an API key first." });
  }
  const used = key;
  let answer;
  try {
    answer = await fetch(path, {
      method, body, signal,
      headers: { ...headers, "X-API-Key": used },
      cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new Problem(0, { code: "no_answer", detail: "The service did not answer. See that it runs and is reachable." });
  }
  if (answer.ok) {
    return as === "blob" ? answer.blob() : answer.json();
  }
  const seconds = Number.parseInt(answer.headers.get("Retry-After") ?? "", 10);
  const problem = new Problem(answer.status, await readProblem(answer), Number.isFinite(seconds) ? seconds : null);
  if (problem.status === 401 && used === key) {
    forgetKey();
  }
  throw problem;
}

async function readProblem(answer) {
  try {
    return await answer.json();
  } catch {
    return {};  // a proxy in between answers in its own way
  }
}

/** One sentence for a person about a problem. */
export function sentence(problem) {
  if (!(problem instanceof Problem)) {
    return "The page failed. Load it again.";
  }
  const { status, code, detail, retryAfter } = problem;
  if (status === 401 && code !== "no_key") {
    return "The service does not accept this key: it may be mistyped, expired or revoked. Enter it again.";
  }
  if (status === 403) {
    return `This key may not do that. ${detail}`;
  }
  if (status === 429) {
    return `Too many requests. ${detail}${retryAfter ? ` Try again in ${seconds(retryAfter)}.` : ""}`;
  }
  if (status === 503) {
    return `The service cannot take this now. ${detail}`;
  }
  return detail;
}

export const seconds = (count) => (count === 1 ? "1 second" : `${count} seconds`);
