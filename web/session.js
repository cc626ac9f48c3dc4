/** Composes the parts behind a page that plays: tracker line, peer, connections and player. */
import { browserClock } from "./clock.js";
import { receivable, unplayable } from "./codecs.js";
import { Peer } from "./peer.js";
import { TrackerLink } from "./tracker-link.js";
import { Upstream } from "./upstream.js";
import { WireError, decodeInfo, randomNodeId } from "./wire.js";

const AGENT = "banyan-web/1";

/**
 * @typedef {object} SessionOptions
 * @property {string} stream
 * @property {import("./player.js").Player} player
 * @property {() => void} changed
 * @property {(update: import("./wire.js").TreeUpdate) => void} [tree]
 */

/** @param {SessionOptions} options */
export function startSession({ stream, player, changed, tree }) {
  const clock = browserClock();
  const capabilities = receivable();
  /** @type {Upstream | null} */
  let newest = null;

  const peer = new Peer(stream, {
    clock,
    send: (message) => link.send(message),
    redial: () => link.restart(200),
    upstream(node, events, how) {
      const upstream = new Upstream({ node, clock, events, ...how });
      if (!how.standby) newest = upstream;
      return upstream;
    },
    newNode: randomNodeId,
    unplayable(info) {
      try {
        return capabilities && unplayable(decodeInfo(info).tracks, capabilities);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        return null;
      }
    },
    media: (media, number) => player.show(media, number),
    dismiss: (number) => player.dismiss(number),
    tree: (update) => tree?.(update),
    changed,
  });

  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const link = new TrackerLink({
    url: `${scheme}://${location.host}/ws`,
    clock,
    node: () => peer.node,
    agent: AGENT,
    welcomed: (terms) => peer.welcomed(terms),
    message: (message) => peer.heard(message),
    down: () => peer.trackerDown(),
  });

  link.start();
  peer.start();
  addEventListener("online", () => link.hurry());
  addEventListener("pagehide", () => {
    peer.stop();
    link.stop();
  });
  // A page that returns from the back-forward cache has left the tree; it begins anew.
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });

  return {
    peer,
    /** The newest connection's raw statistics, for tests and the curious. */
    async report() {
      const report = await newest?.connection.getStats();
      /** @type {unknown[]} */
      const entries = [];
      report?.forEach((entry) => entries.push(entry));
      return entries;
    },
  };
}
