/** The tree as the tracker tells it, update by update. */

/** @typedef {import("./wire.js").TreePeer} TreePeer */
/** @typedef {import("./wire.js").TreeUpdate} TreeUpdate */

/**
 * A peer and those it feeds.
 * @typedef {object} Branch
 * @property {TreePeer} peer
 * @property {Branch[]} children
 * @property {number} size peers in this branch, itself included
 * @property {number} level hops from the topmost drawn peer
 */

/** Most peers held; a tracker names fewer. */
const MOST_PEERS = 512;

export class TreeModel {
  constructor() {
    /** @type {Map<string, TreePeer>} */
    this.peers = new Map();
    /** When each came, as far as its age tells, on the clock of `apply`. @type {Map<string, number>} */
    this.since = new Map();
    /** @type {number[]} */
    this.perDepth = [];
    this.hidden = 0;
  }

  /** @param {TreeUpdate} update @param {number} now milliseconds */
  apply(update, now) {
    if (update.reset) this.peers.clear();
    for (const id of update.remove) this.peers.delete(id);
    for (const peer of update.upsert) {
      if (!this.peers.has(peer.id) && this.peers.size >= MOST_PEERS) continue;
      this.peers.set(peer.id, peer);
      this.since.set(peer.id, now - peer.age * 1000);
    }
    for (const id of this.since.keys()) if (!this.peers.has(id)) this.since.delete(id);
    this.perDepth = update.per_depth;
    this.hidden = update.hidden;
  }

  /** Seconds since a peer joined; a tracker does not repeat what time alone changes. @param {string} id @param {number} now */
  age(id, now) {
    return Math.max(0, (now - (this.since.get(id) ?? now)) / 1000);
  }

  /** All peers of the tree, the ones left out as well. */
  get total() {
    return this.peers.size + this.hidden;
  }

  /**
   * The branches from the top: usually one, the root's. Peers whose parent is not known hang at
   * the top as well, and a circle that updates may show for a moment is cut.
   * @returns {Branch[]}
   */
  branches() {
    /** @type {Map<string, TreePeer[]>} */
    const below = new Map();
    /** @type {TreePeer[]} */
    const tops = [];
    for (const peer of this.peers.values()) {
      if (peer.parent !== null && peer.parent !== peer.id && this.peers.has(peer.parent)) {
        const siblings = below.get(peer.parent);
        if (siblings) siblings.push(peer);
        else below.set(peer.parent, [peer]);
      } else {
        tops.push(peer);
      }
    }
    /** @type {Set<string>} */
    const seen = new Set();
    /** @param {TreePeer} peer @param {number} level @returns {Branch} */
    const grow = (peer, level) => {
      seen.add(peer.id);
      // By name, which never changes, so that nobody swaps places with a sibling.
      const children = (below.get(peer.id) ?? [])
        .filter(({ id }) => !seen.has(id))
        .sort(byName)
        .map((child) => grow(child, level + 1));
      const size = children.reduce((sum, child) => sum + child.size, 1);
      return { peer, children, size, level };
    };
    const grown = tops.sort((a, b) => a.depth - b.depth || byName(a, b)).map((peer) => grow(peer, 0));
    for (const peer of this.peers.values()) if (!seen.has(peer.id)) grown.push(grow(peer, 0));
    return grown;
  }
}

/** @param {TreePeer} a @param {TreePeer} b */
const byName = (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
