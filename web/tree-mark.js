/** The mark of one peer in the tree: its shapes and its motion. */
import { svg } from "./dom.js";

/** @typedef {import("./tree-layout.js").Spot} Spot */

/** Stiffness and damping of the springs that move the marks, per second. */
const STIFF = 60;
const DAMP = 13;
/** How long (s) a mark that has left falls. */
const FALL = 0.9;

/**
 * A drawn peer and where it is on its way to its spot.
 * @typedef {object} Mark
 * @property {string} id
 * @property {string | null} parent
 * @property {SVGGElement} group
 * @property {SVGElement} shape
 * @property {SVGTextElement} label
 * @property {SVGPathElement} wood
 * @property {SVGCircleElement} crown
 * @property {number} x
 * @property {number} y
 * @property {number} vx
 * @property {number} vy
 * @property {number} angle
 * @property {number} scale
 * @property {number} fallen seconds since it left; 0 while it is here
 * @property {Spot | null} spot
 */

/** @param {Spot} spot @param {{ x: number, y: number }} from where it sprouts @returns {Mark} */
export function makeMark(spot, from) {
  const shape = svg("path", { class: "shape" });
  const label = svg("text", { class: "label" });
  const group = svg(
    "g",
    { class: "mark", "data-id": spot.id },
    svg("circle", { class: "reach" }),
    svg("circle", { class: "halo" }),
    shape,
    label,
  );
  return {
    id: spot.id,
    parent: spot.parent,
    group,
    shape,
    label,
    wood: svg("path", { class: "wood" }),
    crown: svg("circle", { class: "crown-leaf", fill: "url(#crown-fill)" }),
    x: from.x,
    y: from.y,
    vx: 0,
    vy: 0,
    angle: spot.angle,
    scale: 0,
    fallen: 0,
    spot,
  };
}

/** Moves a mark towards its spot. @param {Mark} mark @param {number} dt seconds @returns {boolean} whether it still moves */
export function glide(mark, dt) {
  const { spot } = mark;
  if (!spot) return false;
  mark.vx += ((spot.x - mark.x) * STIFF - mark.vx * DAMP) * dt;
  mark.vy += ((spot.y - mark.y) * STIFF - mark.vy * DAMP) * dt;
  mark.x += mark.vx * dt;
  mark.y += mark.vy * dt;
  mark.angle += (spot.angle - mark.angle) * Math.min(1, dt * 7);
  mark.scale += (1 - mark.scale) * Math.min(1, dt * 7);
  const far = Math.abs(spot.x - mark.x) + Math.abs(spot.y - mark.y);
  const fast = Math.abs(mark.vx) + Math.abs(mark.vy);
  return far > 0.3 || fast > 2 || mark.scale < 0.995;
}

/** Lets a mark fall like a leaf. @param {Mark} mark @param {number} dt seconds @returns {boolean} whether it still falls */
export function fall(mark, dt) {
  mark.fallen += dt;
  mark.vy += 260 * dt;
  mark.y += mark.vy * dt;
  mark.x += Math.sin(mark.fallen * 7) * 26 * dt;
  mark.angle += 2.4 * dt;
  mark.scale = Math.max(0, 1 - mark.fallen / FALL);
  return mark.fallen < FALL;
}

/** @param {number} r */
export const disc = (r) => `M${-r} 0A${r} ${r} 0 1 1 ${r} 0A${r} ${r} 0 1 1 ${-r} 0Z`;

/** A leaf that points up. @param {number} r */
export const leafShape = (r) =>
  `M0 ${(r * 0.95).toFixed(1)}C${(-r * 1.25).toFixed(1)} ${(r * 0.45).toFixed(1)} ${(-r * 0.85).toFixed(1)} ${(-r * 0.75).toFixed(1)} 0 ${(-r * 1.15).toFixed(1)}C${(r * 0.85).toFixed(1)} ${(-r * 0.75).toFixed(1)} ${(r * 1.25).toFixed(1)} ${(r * 0.45).toFixed(1)} 0 ${(r * 0.95).toFixed(1)}Z`;
