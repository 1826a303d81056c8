// The reader's queue as the page knows it: pages of cases, pictures as blob addresses, decisions.

import { ask } from "/static/session.js";

const PAGE = 50;  // cases of one request
const KEPT = 8;  // cases whose pictures are kept in memory

export class Queue {
  constructor() {
    this.pictures = new Map();  // path to the promise of a blob address
    this.clear();
  }

  /** Forget all cases and pictures. */
  clear() {
    Object.assign(this, { state: "open", cases: [], index: 0, complete: true, counts: null });
    for (const path of [...this.pictures.keys()]) {
      this.drop(path);
    }
  }

  get current() {
    return this.cases[this.index];
  }

  /** Cases of this list in all, as far as is known. */
  get total() {
    return this.complete ? this.cases.length : Math.max(this.counts?.[this.state] ?? 0, this.cases.length);
  }

  async load(state) {
    const found = await this.page(state, "");
    Object.assign(this, { state, cases: found.cases, index: 0, complete: found.cases.length < PAGE });
  }

  async more() {
    const last = this.cases.at(-1);
    const found = await this.page(this.state, last ? `&after=${encodeURIComponent(last.id)}` : "");
    const known = new Set(this.cases.map(({ id }) => id));
    this.cases.push(...found.cases.filter(({ id }) => !known.has(id)));
    this.complete = found.cases.length < PAGE;
  }

  async page(state, after) {
    const found = await ask(`/review/cases?state=${state}&limit=${PAGE}${after}`);
    this.counts = { open: found.open, decided: found.decided };
    return found;
  }

  /** Save a decision; the case stays in its place of the list, so that it can be gone back to. */
  async decide(one, action, label, comment) {
    const body = { action, ...(action === "correct" ? { label } : {}), ...(comment ? { comment } : {}) };
    const saved = await ask(`/review/cases/${encodeURIComponent(one.id)}/decision`, {
      method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
    });
    if (!one.decision) {
      this.counts.open = Math.max(0, this.counts.open - 1);
      this.counts.decided += 1;
    }
    Object.assign(one, saved, { decision: saved.decision ?? body });
  }

  /** Place of the next case without a decision, round the end; null where there is none. */
  nextOpen() {
    const places = [...this.cases.keys()].filter((place) => !this.cases[place].decision);
    return places.find((place) => place > this.index) ?? places[0] ?? null;
  }

  film(id) {
    return this.picture(`/review/cases/${encodeURIComponent(id)}/film`);
  }

  /** Address of the heat map; throws a Problem of status 404 where there is none. */
  heat(id) {
    return this.picture(`/review/cases/${encodeURIComponent(id)}/overlay`);
  }

  /** Have the next open case's pictures ready. */
  prefetch() {
    const next = this.cases[this.nextOpen() ?? -1];
    if (next && next !== this.current) {
      this.film(next.id).catch(() => {});  // asked for again when it is shown
      this.heat(next.id).catch(() => {});
    }
  }

  picture(path) {
    const kept = this.pictures.get(path);
    if (kept) {
      return kept;
    }
    const coming = ask(path, { as: "blob" }).then(URL.createObjectURL, (problem) => {
      this.pictures.delete(path);
      throw problem;
    });
    this.pictures.set(path, coming);
    for (const old of [...this.pictures.keys()].slice(0, -2 * KEPT)) {
      this.drop(old);
    }
    return coming;
  }

  drop(path) {
    this.pictures.get(path).then(URL.revokeObjectURL, () => {});
    this.pictures.delete(path);
  }
}
