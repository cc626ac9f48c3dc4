/** A demonstration: a click on a relay kills it, and nobody misses it. */
import { html, set } from "./dom.js";
import { shortId } from "./format.js";

/** @typedef {import("./tree-mark.js").Mark} Mark */

/** Whether this is one: its tracker marks the page, and has nothing to kill otherwise. */
const isDemo = () => document.documentElement.hasAttribute("data-demo");

/** Says what there is to do. @param {HTMLElement} root */
export function invite(root) {
  if (isDemo()) root.after(html("p", { class: "tree-hint muted" }, "Click a relay to kill it."));
}

/** Makes the mark of a relay a button. @param {Mark} mark @param {boolean} relay */
export function arm(mark, relay) {
  const armed = relay && isDemo();
  set(mark.group, {
    role: armed ? "button" : null,
    tabindex: armed ? 0 : null,
    "aria-label": armed ? `Kill relay ${shortId(mark.id)}` : null,
  });
}

/** Kills the relay of a mark that is a button. @param {Mark | undefined} mark */
export function kill(mark) {
  if (mark?.group.getAttribute("role") !== "button") return;
  const request = fetch("/api/demo/kill", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ node: mark.id }),
  });
  // The tree shows what came of it.
  request.catch(() => {});
}
