// The base models as cards, of which one is chosen.

import { clone } from "./parts.js";

const STATES = {
  warm: ["ready", "good"],
  loading: ["loading", "warn"],
  parked: ["asleep", "accent"],
  unloaded: ["asleep", "accent"],
  draining: ["stopping", "warn"],
  cold: ["no worker", "warn"],
};

export class Bases {
  // `changed` is told of each choice.
  constructor(place, catalog, changed) {
    this.place = place;
    this.catalog = catalog;
    this.changed = changed;
  }

  get model() {
    const picked = this.place.querySelector("input:checked");
    return picked ? this.catalog.model(picked.value) : undefined;
  }

  render() {
    const before = this.model?.id ?? this.catalog.models[0]?.id;
    this.place.replaceChildren(...this.catalog.models.map((model) => this.#card(model)));
    this.pick(before);
  }

  pick(id) {
    for (const input of this.place.querySelectorAll("input")) {
      if (input.value !== id) continue;
      input.checked = true;
      this.changed(this.model);
    }
  }

  #card(model) {
    const card = clone("base-card");
    card.pick.value = model.id;
    card.pick.addEventListener("change", () => this.changed(this.model));
    card.name.textContent = model.id;
    const size = `${model.defaults.width} × ${model.defaults.height}`;
    const waiting = model.waiting ? `${model.waiting} waiting` : "";
    card.about.textContent = [model.repo, size, model.license, waiting].filter(Boolean).join(" · ");
    const [text, tone] = STATES[model.state] ?? [model.state, "accent"];
    card.state.textContent = text;
    card.state.classList.add(tone);
    this.catalog.illustrate(card.thumb, "model", model);
    return card.root;
  }
}
