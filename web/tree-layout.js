/**
 * Where each peer of the tree is drawn: a fan that opens upward from the root, so that the picture
 * is a tree at any size. Pure arithmetic, no page.
 */

/** @typedef {import("./tree-model.js").Branch} Branch */

/**
 * @typedef {object} Spot
 * @property {string} id
 * @property {string | null} parent the peer it is drawn under
 * @property {number} x
 * @property {number} y
 * @property {number} angle direction of growth in radians, 0 is up, positive is to the right
 * @property {number} size peers in its branch
 * @property {Branch} branch
 */

/**
 * @typedef {object} Layout
 * @property {Map<string, Spot>} spots
 * @property {number} radius of a peer's mark in pixels
 * @property {{ x: number, y: number }} ground where the trunk meets the soil
 */

/** Radians that a leaf takes while there is room, and the widest fan. */
const LEAF_ANGLE = 0.42;
const WIDEST = 3.3;
/** Pixels that the marks keep from the sides, the top and the bottom. */
const MARGIN = 26;
const TOP = 24;
const BOTTOM = 46;
const MARK_MOST = 11;
const MARK_LEAST = 3.5;

/**
 * @param {Branch[]} tops @param {number} width @param {number} height
 * @returns {Layout}
 */
export function layout(tops, width, height) {
  const ground = { x: width / 2, y: height - BOTTOM };
  /** @type {Map<string, Spot>} */
  const spots = new Map();
  if (tops.length === 0) return { spots, radius: MARK_MOST, ground };

  // Branches without a known root hang around the place where it will stand.
  const lift = tops.length > 1 ? 1 : 0;
  const weights = tops.map(leaves);
  const total = weights.reduce((sum, n) => sum + n, 0);
  const depth = Math.max(1, ...tops.map(deepest)) + lift;
  const spread = Math.min(WIDEST, Math.max(total - 1, 0.001) * LEAF_ANGLE + (total > 1 ? 0.35 : 0));

  const reach = Math.sin(Math.min(spread / 2, Math.PI / 2));
  const dip = Math.max(0, -Math.cos(spread / 2));
  const across = Math.max(width / 2 - MARGIN, 40);
  const up = Math.max((height - TOP - BOTTOM) / (1 + dip * 0.6), 40);
  // A short tree does not fill the sky with two long branches.
  const tall = Math.min(up, 70 + depth * 90);
  const wide = Math.min(across / Math.max(reach, 0.2), tall * 1.7);

  const along = (Math.PI * (wide + tall)) / 2 / Math.PI;
  const room = (along * spread) / Math.max(total - 1, 1);
  const rings = room >= 15 || total < 3 ? 1 : room >= 9 ? 2 : 3;
  const radius = Math.max(
    MARK_LEAST,
    Math.min(MARK_MOST, room * rings * 0.36, (tall / depth) * 0.3),
  );
  const step = rings > 1 ? Math.min((radius * 2.5) / tall, 0.32 / rings / depth) : 0;

  let leaf = 0;
  /** @param {Branch} branch @param {number} from @param {number} share @param {string | null} parent */
  const place = (branch, from, share, parent) => {
    const angle = from + share / 2;
    const level = branch.level + lift;
    let far = level / depth;
    if (branch.children.length === 0) far -= (leaf++ % rings) * step;
    far = level === 0 ? 0 : Math.max(far, 0.1);
    spots.set(branch.peer.id, {
      id: branch.peer.id,
      parent,
      x: ground.x + Math.sin(angle) * wide * far,
      y: ground.y - dip * 0.6 * up * 0.4 - Math.cos(angle) * tall * far,
      angle,
      size: branch.size,
      branch,
    });
    const all = leaves(branch);
    let at = from;
    for (const child of branch.children) {
      const part = (share * leaves(child)) / all;
      place(child, at, part, branch.peer.id);
      at += part;
    }
  };
  // Half a leaf's share of room on either side belongs to the outermost leaves.
  const full = total > 1 ? (spread * total) / (total - 1) : spread;
  let at = -full / 2;
  tops.forEach((top, i) => {
    const share = (full * weights[i]) / total;
    place(top, at, share, null);
    at += share;
  });
  return { spots, radius, ground };
}

/** @param {Branch} branch @returns {number} */
function leaves(branch) {
  if (branch.children.length === 0) return 1;
  return branch.children.reduce((sum, child) => sum + leaves(child), 0);
}

/** @param {Branch} branch @returns {number} */
function deepest(branch) {
  return branch.children.reduce((most, child) => Math.max(most, deepest(child)), branch.level);
}

/**
 * A branch as a curve that leaves its parent in the parent's direction of growth and arrives in
 * its own.
 * @param {{ x: number, y: number, angle: number }} a @param {{ x: number, y: number, angle: number }} b
 */
export function curve(a, b) {
  const far = Math.hypot(b.x - a.x, b.y - a.y);
  const [out, into] = [far * 0.38, far * 0.34];
  const x1 = a.x + Math.sin(a.angle) * out;
  const y1 = a.y - Math.cos(a.angle) * out;
  const x2 = b.x - Math.sin(b.angle) * into;
  const y2 = b.y + Math.cos(b.angle) * into;
  return `M${n(a.x)} ${n(a.y)}C${n(x1)} ${n(y1)} ${n(x2)} ${n(y2)} ${n(b.x)} ${n(b.y)}`;
}

/** @param {number} value */
const n = (value) => Math.round(value * 10) / 10;
