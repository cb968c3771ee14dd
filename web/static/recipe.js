// The form that a job is made of.

import { Adapters } from "./adapters.js";
import { Bases } from "./bases.js";
import { clearFaults, showFaults } from "./faults.js";
import { element } from "./parts.js";

const NUMBERS = ["width", "height", "num_inference_steps", "guidance_scale", "num_images"];
const SEEDS = 2 ** 32;

export const newSeed = () => Math.floor(Math.random() * SEEDS);

export class Recipe {
  #shownModel = "";

  constructor(form, catalog) {
    this.form = form;
    this.catalog = catalog;
    this.adapters = new Adapters(form, catalog);
    this.bases = new Bases(form.querySelector("#bases"), catalog, (model) => this.#limit(model));
  }

  // After the catalog was loaded, also again.
  render() {
    this.bases.render();
  }

  get body() {
    const body = { model: this.bases.model?.id ?? "", prompt: this.#field("prompt").value };
    for (const name of NUMBERS) {
      const input = this.#field(name);
      if (input.value !== "") body[name] = input.valueAsNumber;
    }
    const seed = this.#field("seed").value.trim();
    // What is no number goes as it is, and is refused with a reason.
    if (seed) body.seed = /^\d+$/.test(seed) ? Number(seed) : seed;
    for (const name of ["negative_prompt", "scheduler"]) {
      const value = this.#field(name).value;
      if (value) body[name] = value;
    }
    if (this.#field("on_lora_error").value === "skip") body.on_lora_error = "skip";
    const loras = this.adapters.body;
    if (loras.length) body.loras = loras;
    return body;
  }

  // Fills the form with the `input` of a job.
  use(input) {
    this.bases.pick(input.model);
    for (const name of [...NUMBERS, "prompt", "negative_prompt", "seed", "on_lora_error"]) {
      this.#field(name).value = input[name];
    }
    this.#field("scheduler").value = input.scheduler ?? "";
    this.adapters.clear();
    for (const { id, scale } of input.loras) this.adapters.pick(id, scale);
    this.#field("prompt").focus();
  }

  clearFaults() {
    clearFaults(this.form);
  }

  showFaults(error) {
    showFaults(this.form, error, (pointer) => this.adapters.errorAt(pointer));
  }

  #field(name) {
    return this.form.elements.namedItem(name);
  }

  #limit(model) {
    const { limits, defaults, schedulers } = model;
    const ranges = {
      width: [limits.min_size, limits.max_size, limits.multiple_of],
      height: [limits.min_size, limits.max_size, limits.multiple_of],
      num_inference_steps: [1, limits.max_steps, 1],
      guidance_scale: [0, limits.max_guidance_scale, 0.1],
      num_images: [1, limits.max_images, 1],
    };
    for (const [name, [min, max, step]] of Object.entries(ranges)) {
      Object.assign(this.#field(name), { min, max, step, title: `${min} to ${max}` });
    }
    this.adapters.show(model);
    // What was typed stays when the same base is shown again.
    if (this.#shownModel === model.id) return;
    this.#shownModel = model.id;
    for (const name of NUMBERS) this.#field(name).value = defaults[name] ?? 1;
    this.#field("negative_prompt").value = defaults.negative_prompt;
    const names = ["", ...schedulers];
    const options = names.map((name) => element("option", name || "the base's own"));
    options.forEach((option, index) => (option.value = names[index]));
    this.#field("scheduler").replaceChildren(...options);
    this.#field("scheduler").value = "";
  }
}
