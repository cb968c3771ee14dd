// Lists that are drawn again and again: what stays keeps its element, and so the focus within.

import { element } from "./parts.js";
import { short } from "./words.js";

// What begins an id, which is all there for who points at it.
export function code(id, text = short(id)) {
  const made = element("code", text);
  made.title = id;
  return made;
}

// Makes the children of `parent` those of `items`, in their order. `make` gives {root, fill}.
export function keyed(parent, items, keyOf, make) {
  const before = (parent.kept ??= new Map());
  const now = new Map();
  for (const item of items) {
    const key = keyOf(item);
    const one = before.get(key) ?? make(item);
    now.set(key, one);
    one.fill(item);
  }
  for (const [key, one] of before) if (!now.has(key)) one.root.remove();
  let place = parent.firstElementChild;
  for (const { root } of now.values()) {
    if (root === place) place = place.nextElementSibling;
    else parent.insertBefore(root, place);
  }
  parent.kept = now;
}

// A row whose cells `texts(item)` says; `act` may put a button into the last one.
export function row(columns, texts, act = null, numbers = []) {
  return (first) => {
    const root = element("tr");
    const cells = Array.from({ length: columns }, (_, n) => {
      const cell = element("td", "", numbers.includes(n) ? "number" : "");
      root.append(cell);
      return cell;
    });
    let current = first;
    if (act) cells.at(-1).append(...act(() => current));
    const fill = (item) => {
      current = item;
      texts(item).forEach((value, n) => put(cells[n], value));
    };
    return { root, fill };
  };
}

// Text, or an element that is made anew; unchanged text stays, so that it can be selected.
function put(cell, value) {
  if (value instanceof Node) cell.replaceChildren(value);
  else if (cell.textContent !== String(value)) cell.textContent = value;
}

export function button(text, label, press, className = "") {
  const made = element("button", text, className);
  made.type = "button";
  made.addEventListener("click", () => press(made));
  if (label) made.setAttribute("aria-label", label());
  return made;
}

// "and N more" under a list that is cut.
export function more(place, rest, text) {
  place.hidden = rest <= 0;
  place.textContent = rest > 0 ? `and ${rest.toLocaleString("en")} more ${text}`.trim() : "";
}
