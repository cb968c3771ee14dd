// The jobs of this browser, the newest first; those of one comparison lie on one sheet.

import { Follower, hasEnded } from "./follower.js";
import { JobCard } from "./job-card.js";
import { fetchJson, Problem } from "./key.js";
import { clone, element } from "./parts.js";
import { nameOf } from "./words.js";

const NAME = "lorajobs.jobs";
const KEPT = 400;
const PAGE = 12;

export class Gallery {
  // [{id, sheet?}], as kept by the browser
  #entries = JSON.parse(localStorage.getItem(NAME) ?? "[]");
  #cards = new Map();
  #sheets = new Map();

  // `act` gets what a button of a card does, `ended` each job that was followed to its end.
  constructor(place, act, ended) {
    this.place = place;
    this.act = act;
    this.ended = ended;
    this.follower = new Follower(
      (job) => this.update(job),
      (id) => this.forget(id),
    );
  }

  get isEmpty() {
    return this.#cards.size === 0;
  }

  get hasOlder() {
    return this.#hidden.length > 0;
  }

  // A job that was just submitted; those with the same sheet lie together.
  add(job, sheet) {
    this.#entries.unshift({ id: job.id, ...(sheet && { sheet }) });
    this.#save();
    const card = this.#card(job);
    if (sheet) this.#cells(sheet, job, true).append(cell(card, job));
    else this.place.prepend(card.root);
  }

  // Shows the next of the jobs from before.
  async older() {
    const hidden = this.#hidden;
    const sheets = new Set(hidden.slice(0, PAGE).map(({ sheet }) => sheet).filter(Boolean));
    // A sheet is not torn apart.
    const next = hidden.filter(({ sheet }, index) => index < PAGE || sheets.has(sheet));
    const jobs = await Promise.all(next.map(({ id }) => found(id)));
    next.forEach(({ id, sheet }, index) => this.#append(id, sheet, jobs[index]));
  }

  #append(id, sheet, job) {
    if (!job) {
      this.#drop(id);
      return;
    }
    const card = this.#card(job);
    // The first of a sheet was submitted first.
    if (sheet) this.#cells(sheet, job, false).prepend(cell(card, job));
    else this.place.append(card.root);
  }

  get #hidden() {
    return this.#entries.filter(({ id }) => !this.#cards.has(id));
  }

  update(job) {
    const card = this.#cards.get(job.id);
    if (!card) return;
    const hadEnded = hasEnded(card.job);
    // An answer that was given before the end and arrives after it.
    if (hadEnded && !hasEnded(job)) return;
    card.update(job);
    if (hasEnded(job) && !hadEnded) this.ended(job);
  }

  // Asks for a job again, for fresh URLs.
  async #refresh(job) {
    if (!this.#cards.has(job.id)) return;
    try {
      const now = await found(job.id);
      if (now) this.update(now);
      else this.forget(job.id);
    } catch {
      // The API is away: the picture that was loaded stays.
    }
  }

  forget(id) {
    const root = this.#cards.get(id)?.root;
    const sheet = root?.closest(".sheet");
    (root?.closest(".cell") ?? root)?.remove();
    if (sheet && !sheet.querySelector(".job")) sheet.remove();
    this.#cards.delete(id);
    this.#drop(id);
  }

  #card(job) {
    const card = new JobCard(job, this.act, (old) => this.#refresh(old));
    this.#cards.set(job.id, card);
    this.follower.follow(job);
    return card;
  }

  #cells(id, { input }, isNew) {
    if (!this.#sheets.get(id)?.root.isConnected) {
      const sheet = clone("sheet");
      sheet.title.textContent = input.prompt || "(no prompt)";
      sheet.about.textContent = `one seed: ${input.seed}`;
      if (isNew) this.place.prepend(sheet.root);
      else this.place.append(sheet.root);
      this.#sheets.set(id, sheet);
    }
    return this.#sheets.get(id).cells;
  }

  #drop(id) {
    this.#entries = this.#entries.filter((entry) => entry.id !== id);
    this.#save();
  }

  #save() {
    this.#entries.length = Math.min(this.#entries.length, KEPT);
    localStorage.setItem(NAME, JSON.stringify(this.#entries));
  }
}

function cell(card, { input }) {
  const made = element("div", "", "cell");
  const name = input.loras.map(nameOf).join(" + ") || "base alone";
  made.append(element("h4", name), card.root);
  return made;
}

// The job, or null if it is not there (any more, or for this key).
async function found(id) {
  try {
    return await fetchJson(`/v1/jobs/${encodeURIComponent(id)}`);
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}
