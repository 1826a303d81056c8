// The films of the predict page and how they are sent: in order, at most ten a request, one request at a time.

import { Problem, ask, hasKey, servedModel } from "/static/session.js";

const MOST_FILES = 10;  // of one request, by the service's contract
const MOST_BYTES = 40_000_000;  // of one request: it has a minute to arrive
const MOST_TRIES = 4;
const LONGEST_WAIT = 60;  // seconds that are waited for without asking; longer is the reader's decision
const DEFAULT_WAIT = 5;  // seconds, where the service names none
const NEUTRAL = "film";  // the name that goes with the bytes: the file's own may name a patient

/**
 * One film: `state` is waiting, sending, done, refused (this file cannot be used) or failed (it may be tried again).
 * @typedef {{id: number, file: Blob, name: string, state: string, answer: object?, problem: Problem?, maps: Map}} Film
 */
export class Films {
  /**
   * @param {(film: Film?) => void} changed called with each film that changes, with null when the list does
   * @param {(seconds: number) => void} waiting called each second of a wait the service asked for, 0 at its end
   * @param {(problem: Problem) => void} failed called with what stopped the sending
   */
  constructor(changed, waiting, failed) {
    Object.assign(this, { changed, waiting, failed, list: [], running: false, explains: true });
    this.stopper = new AbortController();
    this.last = 0;
  }

  /** Append files and send them as soon as there is a key. */
  add(files, names = []) {
    const added = [...files].map((file, index) => ({
      id: ++this.last, file, name: names[index] ?? file.name ?? "pasted image",
      state: "waiting", answer: null, problem: null, maps: new Map(),
    }));
    this.list.push(...added);
    this.changed(null);
    this.run();
    return added;
  }

  clear() {
    this.stop();
    this.list = [];
    this.changed(null);
  }

  /** End the request under way; its films can be tried again. */
  stop() {
    this.stopper.abort();
    this.stopper = new AbortController();
  }

  retry() {
    for (const film of this.list.filter(({ state }) => state === "failed")) {
      this.set(film, { state: "waiting", problem: null });
    }
    this.run();
  }

  count(...states) {
    return this.list.filter(({ state }) => states.includes(state)).length;
  }

  /** Send what waits; returns at once while a run is under way or no key is there. */
  async run() {
    if (this.running) {
      return;
    }
    this.running = true;
    try {
      for (let batch = this.next(); hasKey() && batch.length; batch = this.next()) {
        await this.send(batch, this.stopper.signal);
      }
    } finally {
      this.running = false;
      this.changed(null);
    }
  }

  next() {
    const batch = [];
    let bytes = 0;
    for (const film of this.list.filter(({ state }) => state === "waiting")) {
      if (batch.length && (batch.length === MOST_FILES || bytes + film.file.size > MOST_BYTES)) {
        break;
      }
      batch.push(film);
      bytes += film.file.size;
    }
    return batch;
  }

  set(film, values) {
    Object.assign(film, values);
    this.changed(film);
  }

  async send(batch, signal) {
    const readable = [];
    for (const film of batch) {
      this.set(film, { state: "sending" });
      if (await canBeRead(film.file)) {
        readable.push(film);
      } else {
        const detail = "This cannot be read: a folder, or a file that has changed since.";
        this.set(film, { state: "refused", problem: new Problem(0, { code: "unreadable", detail }) });
      }
    }
    if (!readable.length) {
      return;
    }
    try {
      const request = readable.length === 1 ? () => this.single(readable[0], signal) : () => this.several(readable, signal);
      await this.patiently(request, signal);
    } catch (problem) {
      this.giveUp(readable, problem);
    }
  }

  /** Try again after as long as the service asks for, a few times. */
  async patiently(request, signal) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await request();
      } catch (problem) {
        const wait = problem.retryAfter ?? DEFAULT_WAIT;
        if (![429, 503].includes(problem.status) || tries === MOST_TRIES || wait > LONGEST_WAIT) {
          throw problem;
        }
        await this.pause(wait, signal);
      }
    }
  }

  async pause(seconds, signal) {
    try {
      for (let left = seconds; left > 0; left -= 1) {
        this.waiting(left);
        await sleep(1000, signal);
      }
    } finally {
      this.waiting(0);
    }
  }

  giveUp(films, problem) {
    const stopped = problem.name === "AbortError";
    for (const film of films) {
      if (problem.status === 401) {
        this.set(film, { state: "waiting" });
      } else if (problem instanceof Problem && !problem.passing && problem.status !== 403 && films.length === 1) {
        this.set(film, { state: "refused", problem });
      } else {
        const shown = stopped ? new Problem(0, { code: "stopped", detail: "Stopped before it was sent." }) : problem;
        this.set(film, { state: "failed", problem: shown });
      }
    }
    if ([401, 403, 429, 503, 0].includes(problem.status)) {
      this.failed(problem);
      for (const film of problem.status === 401 ? [] : this.list.filter(({ state }) => state === "waiting")) {
        this.set(film, { state: "failed", problem });
      }
    }
  }

  async single(film, signal) {
    if (this.canExplain()) {
      try {
        return void (await this.explain(film, null, signal));
      } catch (problem) {
        if (problem.code !== "part_missing") {
          throw problem;
        }
        this.explains = false;
      }
    }
    const answer = await ask("/predict", { method: "POST", body: form("file", [film]), signal });
    this.set(film, { state: "done", answer, problem: null });
  }

  async several(films, signal) {
    let whole;
    try {
      whole = await ask("/batch_predict", { method: "POST", body: form("files", films), signal });
    } catch (problem) {
      if (!problem.items) {
        throw problem;
      }
      whole = { items: problem.items, request_id: problem.requestId };
    }
    const { items, ...shared } = whole;
    for (const { index, answer, problem } of items) {
      if (answer) {
        this.set(films[index], { state: "done", problem: null, answer: { ...shared, ...answer } });
      } else {
        const reason = new Problem(problem.status, problem, null);
        this.set(films[index], { state: reason.passing ? "failed" : "refused", problem: reason });
      }
    }
    for (const film of films.filter(({ state }) => state === "sending")) {
      const detail = "The service said nothing about this film.";
      this.set(film, { state: "failed", problem: new Problem(0, { code: "no_item", detail }) });
    }
  }

  /** Whether the served model can say where it looked, as far as is known. */
  canExplain() {
    const parts = servedModel()?.parts;
    const names = Array.isArray(parts) ? parts : Object.keys(parts ?? { explain: "" });
    return this.explains && names.includes("explain");
  }

  /** Ask for the heat map of a label (null: the predicted one) and keep it with the film. */
  async explain(film, label, signal) {
    const query = label ? `?label=${encodeURIComponent(label)}` : "";
    const whole = await ask(`/predict/explain${query}`, { method: "POST", body: form("file", [film]), signal });
    const { explanation, ...answer } = whole;
    film.maps.set(explanation.label, explanation);
    this.set(film, { state: "done", problem: null, answer: film.answer ?? answer });
    return explanation;
  }
}

function form(field, films) {
  const body = new FormData();
  for (const { file } of films) {
    body.append(field, file.slice(0, file.size, "application/octet-stream"), NEUTRAL);
  }
  return body;
}

async function canBeRead(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
