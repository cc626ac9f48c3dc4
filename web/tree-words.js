/** The tree in words: tooltips and the nested list. */
import { html } from "./dom.js";
import { age, duration, loss, plural, shortId } from "./format.js";

/** @typedef {import("./tree-model.js").Branch} Branch */
/** @typedef {import("./tree-model.js").TreeModel} TreeModel */
/** @typedef {import("./wire.js").TreePeer} TreePeer */

/** How many and how deep. @param {TreeModel} model */
export function measure(model) {
  if (model.total === 0) return "";
  const hops = Math.max(model.perDepth.length - 1, 0);
  const hidden = model.hidden > 0 ? `, ${model.hidden.toLocaleString("en")} of them not drawn` : "";
  return `${plural(model.total, "peer")}, ${plural(hops, "hop")} deep${hidden}`;
}

/** The picture for those who do not see it. @param {TreeModel} model @param {string} self */
export function summary(model, self) {
  if (model.total === 0) return "No tree yet";
  const own = model.peers.get(self);
  const place = own ? `; you are ${plural(own.depth, "hop")} from the root` : "";
  return `Tree of ${measure(model)}${place}. Arrow keys walk through it.`;
}

/** @param {TreeModel} model @param {TreePeer} peer @param {string} self @returns {string[]} */
export function describe(model, peer, self) {
  const root = peer.parent === null;
  const kind = root ? "root, the broadcaster" : peer.class === "native" ? "native node" : peer.class;
  const lines = [
    `${peer.id === self ? "You" : shortId(peer.id)}, ${kind}`,
    root ? "" : `${plural(peer.depth, "hop")} from the root, under ${shortId(peer.parent ?? "")}`,
    peer.slots > 0 ? `feeds ${peer.used} of ${peer.slots}` : "",
    root || peer.class === "player" ? "" : `delay ${duration(peer.delay_ms)}, loss ${loss(peer.loss_permille)}`,
    peer.standby === null ? "" : `standby ${shortId(peer.standby)}`,
    peer.reach === "unknown" ? "" : `${peer.reach} network`,
    `here for ${age(model.age(peer.id, performance.now()))}`,
  ];
  return lines.filter((line) => line !== "");
}

/** @param {TreeModel} model @param {Branch} branch @param {string} self @returns {HTMLLIElement} */
export function outline(model, { peer, children }, self) {
  const item = html("li", {}, describe(model, peer, self).join(", "));
  if (peer.id === self) item.setAttribute("aria-current", "true");
  if (children.length > 0) item.append(html("ul", {}, ...children.map((child) => outline(model, child, self))));
  return item;
}
