/** Building pages from script: the strict content policy leaves no other way, and none is needed. */

/** @typedef {Record<string, string | number | boolean | null>} Attributes */

/**
 * @param {Element} node @param {Attributes} attributes
 */
export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) node.removeAttribute(name);
    else {
      const text = value === true ? "" : String(value);
      if (node.getAttribute(name) !== text) node.setAttribute(name, text);
    }
  }
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Attributes} [attributes] @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function html(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  set(node, attributes);
  node.append(...children);
  return node;
}

/**
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag @param {Attributes} [attributes] @param {(Node | string)[]} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(node, attributes);
  node.append(...children);
  return node;
}

/** Writes only what has changed, so that screen readers hear no repetitions. @param {Node} node @param {string} text */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * The element of the page that a script relies on.
 * @template {Element} T
 * @param {string} id @param {new () => T} kind
 * @returns {T}
 */
export function need(id, kind) {
  const node = document.getElementById(id);
  if (!(node instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return node;
}

/** Outlines on a 24 x 24 grid. */
const ICONS = {
  sound: "M4 9v6h4l5 4V5L8 9H4zM16.5 8.5a5 5 0 0 1 0 7M19 6a8.5 8.5 0 0 1 0 12",
  muted: "M4 9v6h4l5 4V5L8 9H4zM17 9.5l5 5M22 9.5l-5 5",
  grow: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  shrink: "M9 4v5H4M15 4v5h5M9 20v-5H4M15 20v-5h5",
  open: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
};

/** @param {keyof typeof ICONS} name */
export const icon = (name) =>
  svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));

/** The banyan of the header and of empty places. @param {string} [className] */
export const banyan = (className = "banyan") =>
  svg(
    "svg",
    { class: className, viewBox: "0 0 48 48", "aria-hidden": "true" },
    svg("path", { class: "wood", d: "M24 44V25M24 33C24 26 16 26 14 19M24 30c0-6 8-6 10-11M24 25c0-6-2-8-2-13" }),
    svg("path", { class: "aerial", d: "M10 26v16M38 26v16M16 30v12M32 30v12" }),
    svg("path", {
      class: "crown",
      d: "M6 24a7 7 0 0 1 4-12 9 9 0 0 1 14-6 9 9 0 0 1 14 6 7 7 0 0 1 4 12 6 6 0 0 1-8 0 7 7 0 0 1-10 0 7 7 0 0 1-10 0 6 6 0 0 1-8 0z",
    }),
  );
