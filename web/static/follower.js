// Jobs that have not ended: a few are followed live, the places of all are asked now and then.

import { fetchEvents, fetchJson, Problem } from "./key.js";

// A browser opens six connections to a server at most, and the page needs some of them.
const LIVE = 3;
const POLL_MS = 2000;
const HIDDEN_POLL_MS = 15000;
// From here on one page of the list is cheaper than asking for each.
const MANY = 5;
const PAGE = 100;

export const hasEnded = (job) => ["succeeded", "failed", "canceled", "expired"].includes(job.status);

export class Follower {
  #jobs = new Map();
  #streams = new Map();
  #isPolling = false;
  #wake = () => {};

  // `told` gets a job each time that something about it is new, `gone` the id of one that is not
  // there any more.
  constructor(told, gone) {
    this.told = told;
    this.gone = gone;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#wake();
    });
  }

  follow(job) {
    if (hasEnded(job)) return;
    this.#jobs.set(job.id, job);
    this.#stream();
    this.#poll();
  }

  #tell(job) {
    if (!this.#jobs.has(job.id)) return;
    if (hasEnded(job)) {
      this.#drop(job.id);
    } else {
      this.#jobs.set(job.id, job);
    }
    this.told(job);
  }

  #drop(id) {
    this.#jobs.delete(id);
    this.#streams.get(id)?.abort();
    this.#streams.delete(id);
    this.#stream();
  }

  // Those that run or will next.
  #stream() {
    const place = (job) => (job.status === "running" ? -1 : (job.queue?.position ?? Infinity));
    const nearest = [...this.#jobs.values()].sort((a, b) => place(a) - place(b));
    for (const job of nearest) {
      if (this.#streams.size >= LIVE) return;
      if (!this.#streams.has(job.id)) this.#open(job.id);
    }
  }

  async #open(id) {
    const stop = new AbortController();
    this.#streams.set(id, stop);
    let lastId = "";
    while (this.#jobs.has(id)) {
      try {
        const path = `/v1/jobs/${encodeURIComponent(id)}/events`;
        for await (const event of fetchEvents(path, { lastId, signal: stop.signal })) {
          lastId = event.id;
          this.#hear(id, event);
        }
      } catch (error) {
        if (stop.signal.aborted) return;
        // Asking for its place finds out what there is to know.
        if (error instanceof Problem && !error.retryable) break;
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    if (this.#streams.get(id) === stop) this.#streams.delete(id);
  }

  #hear(id, { event, data }) {
    const job = this.#jobs.get(id);
    if (!job) return;
    if (event === "progress") {
      const { stage, step, steps, at } = data;
      const began = job.began ?? { at, step };
      const left_s = left(began, at, step, steps);
      this.#tell({ ...job, status: "running", stage, progress: { step, steps }, began, left_s });
    } else if (event === "running") {
      this.#tell({ ...job, status: "running", queue: null, began: undefined, left_s: null });
    } else if (event === "queued") {
      this.#tell({ ...job, status: "queued", stage: null, began: undefined });
    } else {
      this.#tell(data);
    }
  }

  async #poll() {
    if (this.#isPolling) return;
    this.#isPolling = true;
    while (this.#jobs.size) {
      await new Promise((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, document.hidden ? HIDDEN_POLL_MS : POLL_MS);
      });
      try {
        await this.#look();
      } catch {
        // The API is away for a moment.
      }
    }
    this.#isPolling = false;
  }

  async #look() {
    const left = new Set(this.#jobs.keys());
    if (left.size >= MANY) {
      const { jobs } = await fetchJson(`/v1/jobs?limit=${PAGE}`);
      for (const job of jobs) if (left.delete(job.id)) this.#merge(job);
    }
    for (const id of left) {
      try {
        this.#merge(await fetchJson(`/v1/jobs/${encodeURIComponent(id)}`));
      } catch (error) {
        if (!(error instanceof Problem && error.status === 404)) throw error;
        this.#drop(id);
        this.gone(id);
      }
    }
  }

  // What was asked may be older than what was heard meanwhile.
  #merge(job) {
    const known = this.#jobs.get(job.id);
    if (!known) return;
    const heard = this.#streams.has(job.id) && known.began && !hasEnded(job);
    this.#tell(heard ? { ...known, queue: job.queue, warnings: job.warnings } : job);
  }
}

// Seconds until all steps are made, by those that were.
function left(began, at, step, steps) {
  const made = step - began.step;
  if (made <= 0 || step >= steps) return null;
  return ((Date.parse(at) - Date.parse(began.at)) / 1000 / made) * (steps - step);
}
