// What the API says against a form, each at its own field.

import { Problem } from "./key.js";

export function clearFaults(form) {
  for (const place of form.querySelectorAll("[data-error], .use .error")) place.textContent = "";
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

// Shows an error; `others` finds the place of a pointer that is no field's name, or nothing.
export function showFaults(form, error, others = () => null) {
  if (!(error instanceof Problem)) throw error;
  const told = error.errors.length ? error.errors : [{ pointer: "", detail: error.message }];
  for (const { pointer, detail } of told) {
    const name = pointer.split("/")[1] ?? pointer;
    const place =
      others(pointer) ||
      form.querySelector(`[data-error="${CSS.escape(name)}"]`) ||
      form.querySelector('[data-error=""]');
    put(form, place, detail);
  }
  form.querySelector('[aria-invalid="true"]')?.focus();
}

function put(form, place, detail) {
  place.textContent = place.textContent ? `${place.textContent} ${detail}` : detail;
  const within = place.closest("details");
  if (within) within.open = true;
  if (!place.id) return;
  const field = form.querySelector(`[aria-describedby~="${CSS.escape(place.id)}"]`);
  field.setAttribute("aria-invalid", "true");
}
