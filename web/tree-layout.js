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
const WIDEST = 2.75;
/** Pixels kept free at the sides, at the sides for names, at the top, and below the root. */
const SIDE = 22;
const SIDE_NAMED = 46;
const TOP = 22;
const BELOW = 74;
/** Pixels from the root's mark down to the soil. */
const TRUNK = 34;
const MARK_MOST = 11;
const MARK_LEAST = 3.5;
/** Most rounds of pushing apart marks that touch. */
const LOOSEN_ROUNDS = 24;

/**
 * @param {Branch[]} tops @param {number} width @param {number} height
 * @param {boolean} named whether names stand beside the marks
 * @returns {Layout}
 */
export function layout(tops, width, height, named) {
  const side = named ? SIDE_NAMED : SIDE;
  const base = { x: width / 2, y: height - BELOW };
  const ground = { x: base.x, y: base.y + TRUNK };
  /** @type {Map<string, Spot>} */
  const spots = new Map();
  if (tops.length === 0) return { spots, radius: MARK_MOST, ground };

  // Branches without a known root hang around the place where it will stand.
  const lift = tops.length > 1 ? 1 : 0;
  const weights = tops.map(leaves);
  const total = weights.reduce((sum, n) => sum + n, 0);
  const depth = Math.max(1, ...tops.map(deepest)) + lift;
  const spread = total > 1 ? Math.min(WIDEST, (total - 1) * LEAF_ANGLE + 0.35) : 0.001;

  const reach = Math.sin(Math.min(spread / 2, Math.PI / 2));
  const up = Math.max(base.y - TOP, 40);
  // A short tree does not fill the sky with two long branches.
  const tall = Math.min(up, 80 + depth * 115);
  const wide = Math.min(Math.max(width / 2 - side, 40) / Math.max(reach, 0.2), tall * 1.8);

  // Where the leaves stand closer than their marks are wide, they take turns in two or three rows.
  const room = (((wide + tall) / 2) * spread) / Math.max(total - 1, 1);
  const rows = room >= 15 || total < 3 ? 1 : room >= 9 ? 2 : 3;
  const step = rows > 1 ? 0.5 / rows / depth : 0;

  let leaf = 0;
  /** @param {Branch} branch @param {number} from @param {number} share @param {string | null} parent */
  const place = (branch, from, share, parent) => {
    const angle = from + share / 2;
    const level = branch.level + lift;
    let far = level / depth;
    if (branch.children.length === 0) far -= (leaf++ % rows) * step;
    far = level === 0 ? 0 : Math.max(far, 0.1);
    spots.set(branch.peer.id, {
      id: branch.peer.id,
      parent,
      x: base.x + Math.sin(angle) * wide * far,
      y: base.y - Math.cos(angle) * tall * far,
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
  const all = [...spots.values()];
  stretch(all, base, { x: width / 2 - side, y: tall });
  const radius = markRadius(all);
  loosen(all, radius, { left: side, right: width - side, top: TOP, bottom: base.y });
  return { spots, radius, ground };
}

/**
 * Fills the room that the fan leaves where no branch happens to grow, within reason.
 * @param {Spot[]} spots @param {{ x: number, y: number }} base @param {{ x: number, y: number }} room
 */
function stretch(spots, base, room) {
  const aside = Math.max(1, ...spots.map(({ x }) => Math.abs(x - base.x)));
  const above = Math.max(1, ...spots.map(({ y }) => base.y - y));
  const [sx, sy] = [Math.min(1.25, room.x / aside), Math.min(1.5, room.y / above)];
  for (const spot of spots) {
    spot.x = base.x + (spot.x - base.x) * sx;
    spot.y = base.y + (spot.y - base.y) * sy;
  }
}

/** Pixels that a name takes beside its mark, and a branch to a mark behind it. */
const NAME = 62;

/**
 * Whether a name stands to the left of its mark: away from the trunk, where no branch arrives, unless
 * another mark is in the way there and none on the other side.
 * @param {Spot} spot @param {Iterable<Spot>} spots @param {number} radius @param {number} trunk
 */
export function namedLeft(spot, spots, radius, trunk) {
  const outward = spot.x < trunk - 6;
  /** @param {boolean} left */
  const taken = (left) =>
    [...spots].filter(({ x, y }) => {
      const far = left ? spot.x - x : x - spot.x;
      return far > 0 && far < NAME + radius * 2 && Math.abs(y - spot.y) < radius + 10;
    }).length;
  return taken(outward) > taken(!outward) ? !outward : outward;
}

/** Marks as large as most of the spots allow. @param {Spot[]} spots */
function markRadius(spots) {
  const nearest = spots
    .map((a) => Math.min(...spots.map((b) => (a === b ? Infinity : Math.hypot(a.x - b.x, a.y - b.y)))))
    .sort((a, b) => a - b);
  const typical = nearest[Math.floor(nearest.length / 4)];
  return Math.max(MARK_LEAST, Math.min(MARK_MOST, typical * 0.4));
}

/**
 * Pushes marks that touch apart, the root excepted.
 * @param {Spot[]} spots @param {number} radius
 * @param {{ left: number, right: number, top: number, bottom: number }} room
 */
function loosen(spots, radius, room) {
  const least = radius * 2.5;
  for (let round = 0; round < LOOSEN_ROUNDS; round += 1) {
    let moved = false;
    spots.forEach((a, i) => {
      for (const b of spots.slice(i + 1)) {
        const [dx, dy] = [b.x - a.x, b.y - a.y];
        const far = Math.hypot(dx, dy);
        if (far >= least) continue;
        moved = true;
        const [ux, uy] = far > 0.01 ? [dx / far, dy / far] : [1, 0];
        const push = (least - far) / 2;
        if (a.parent !== null) shift(a, -ux * push, -uy * push, room);
        if (b.parent !== null) shift(b, ux * push, uy * push, room);
      }
    });
    if (!moved) return;
  }
}

/**
 * @param {Spot} spot @param {number} dx @param {number} dy
 * @param {{ left: number, right: number, top: number, bottom: number }} room
 */
function shift(spot, dx, dy, room) {
  spot.x = Math.min(room.right, Math.max(room.left, spot.x + dx));
  spot.y = Math.min(room.bottom, Math.max(room.top, spot.y + dy));
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

/** A cubic Bezier: start, two handles, end. @typedef {[number, number, number, number, number, number, number, number]} Curve */

/** @typedef {{ x: number, y: number, angle: number }} Place */

/**
 * A branch as a curve that leaves its parent in the parent's direction of growth and arrives in
 * its own.
 * @param {Place} a @param {Place} b
 * @returns {Curve}
 */
export function branchCurve(a, b) {
  const far = Math.hypot(b.x - a.x, b.y - a.y);
  const [out, into] = [far * 0.38, far * 0.34];
  return [
    a.x,
    a.y,
    a.x + Math.sin(a.angle) * out,
    a.y - Math.cos(a.angle) * out,
    b.x - Math.sin(b.angle) * into,
    b.y + Math.cos(b.angle) * into,
    b.x,
    b.y,
  ];
}

/** The point at `t` from 0 to 1. @param {Curve} c @param {number} t */
export function along(c, t) {
  const u = 1 - t;
  const [k0, k1, k2, k3] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
  return { x: k0 * c[0] + k1 * c[2] + k2 * c[4] + k3 * c[6], y: k0 * c[1] + k1 * c[3] + k2 * c[5] + k3 * c[7] };
}

/** About how many pixels long a curve is. @param {Curve} c */
export function curveLength(c) {
  let sum = 0;
  let before = { x: c[0], y: c[1] };
  for (let i = 1; i <= 6; i += 1) {
    const point = along(c, i / 6);
    sum += Math.hypot(point.x - before.x, point.y - before.y);
    before = point;
  }
  return sum;
}

/** @param {Curve} c */
export const pathOf = (c) =>
  `M${n(c[0])} ${n(c[1])}C${n(c[2])} ${n(c[3])} ${n(c[4])} ${n(c[5])} ${n(c[6])} ${n(c[7])}`;

/** @param {number} value */
const n = (value) => Math.round(value * 10) / 10;
