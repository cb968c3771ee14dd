// The bases and adapters that are there, and a picture of each.

import { fetchBlob, fetchJson } from "./key.js";

export class Catalog {
  models = [];
  loras = [];
  #made = new Map();
  #examples = new Map();

  async load() {
    const [{ models }, { loras }] = await Promise.all([
      fetchJson("/v1/models"),
      fetchJson("/v1/loras"),
    ]);
    this.models = models;
    this.loras = loras;
    await this.#lookAtJobs();
  }

  model(name) {
    return this.models.find((m) => m.id === name || m.aliases.includes(name));
  }

  // The adapters that a base takes: its own, and those of bases that it accepts.
  fitting(model) {
    const accepted = new Set(model.accepts.map((name) => name.toLowerCase()));
    const fits = (base) =>
      [base.id, base.repo, ...base.aliases].some((n) => n && accepted.has(n.toLowerCase()));
    const bases = new Set(this.models.filter(fits).map((base) => base.id));
    return this.loras.filter((lora) => lora.base === model.id || bases.has(lora.base));
  }

  // Puts a picture into an element: of the newest job, else the configured one, else a letter.
  async illustrate(thumb, kind, entry) {
    thumb.textContent = entry.id.slice(0, 1).toUpperCase();
    const made = this.#made.get(`${kind} ${entry.id}`);
    if (made && (await shown(thumb, made))) return;
    if (!entry.example_url) return;
    try {
      await shown(thumb, await this.#example(new URL(entry.example_url).pathname));
    } catch {
      // The letter stays.
    }
  }

  // As an image cannot show the API a key, it gets the bytes.
  async #example(path) {
    if (!this.#examples.has(path)) {
      this.#examples.set(path, fetchBlob(path).then((blob) => URL.createObjectURL(blob)));
    }
    return this.#examples.get(path);
  }

  async #lookAtJobs() {
    this.#made.clear();
    const { jobs } = await fetchJson("/v1/jobs?status=succeeded&limit=100");
    // The newest come first, and the last one that is set stays.
    for (const job of jobs.reverse()) {
      const url = job.outputs.find((output) => output.url)?.url;
      const [only, ...others] = job.applied_loras;
      if (!url || others.length) continue;
      this.#made.set(only ? `lora ${only.id}` : `model ${job.input.model}`, url);
    }
  }
}

function shown(thumb, url) {
  const image = new Image();
  return new Promise((resolve) => {
    image.addEventListener("load", () => {
      thumb.replaceChildren(image);
      resolve(true);
    });
    image.addEventListener("error", () => resolve(false));
    image.alt = "";
    image.src = url;
  });
}
