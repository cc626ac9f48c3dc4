/** One attempt to get the stream from a parent, from its offer to its picture. */

/**
 * What the peer needs of a connection to a parent; `Upstream` is the real one.
 * @typedef {object} UpstreamLike
 * @property {() => Promise<string>} offer
 * @property {(servers: import("./wire.js").IceServer[]) => Promise<void>} begin
 * @property {(sdp: string) => Promise<void>} answer
 * @property {(candidate: string) => void} candidate
 * @property {(epoch: number) => Promise<void>} renew
 * @property {() => void} retire
 * @property {() => void} close
 * @property {number} delayMs
 * @property {number} stillMs
 * @property {number | null} rtt
 * @property {boolean} flows
 * @property {boolean} reached whether ICE found a way to the parent
 */

export class Attempt {
  /** @param {number} link @param {number} now */
  constructor(link, now) {
    this.link = link;
    /** @type {UpstreamLike | null} */
    this.upstream = null;
    /** @type {Promise<string>} */
    this.offer = Promise.resolve("");
    /** @type {string | null} */
    this.parent = null;
    this.generation = 0;
    this.depth = /** @type {number | null} */ (null);
    this.asked = false;
    this.begun = false;
    /** Our ICE candidates, and how many of them the tracker was told. @type {string[]} */
    this.candidates = [];
    this.told = 0;
    this.answered = false;
    this.connected = false;
    this.shown = false;
    this.shownAt = 0;
    this.flowAt = 0;
    this.startedAt = now;
    this.sourceIdle = false;
    this.healing = false;
    /** @type {import("./statistics.js").Sample | null} */
    this.sample = null;
    this.reported = { packets: 0, lost: 0 };
  }
}
