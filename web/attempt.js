/** One link to a parent or to a standby, from its offer to its picture, and what the tracker hears of it. */

/**
 * What the peer needs of a connection to a parent; `Upstream` is the real one.
 * @typedef {object} UpstreamLike
 * @property {() => Promise<string>} offer
 * @property {(servers: import("./wire.js").IceServer[]) => Promise<void>} begin
 * @property {(sdp: string) => Promise<void>} answer
 * @property {(candidate: string) => void} candidate
 * @property {(epoch: number) => Promise<void>} renew
 * @property {() => void} activate
 * @property {() => void} deactivate
 * @property {() => Promise<void>} look
 * @property {() => void} retire
 * @property {() => void} close
 * @property {MediaStream} stream
 * @property {import("./wire.js").Pulse} remote
 * @property {boolean} soundOnly
 * @property {string[]} path
 * @property {boolean} current whether its tracks are those the stream has now
 * @property {number} heardAt
 * @property {number} mediaAt
 * @property {number} starvesSince
 * @property {number} healingSince
 * @property {number} delayMs
 * @property {number} stillMs
 * @property {number | null} rtt
 * @property {boolean} flows
 * @property {boolean} reached whether ICE found a way to the parent
 */

/** @typedef {import("./wire.js").LostReason} LostReason */

/** A connection that does not stand this long (ms) after its parent was named will not. */
const CONNECT_TIMEOUT = 4000;

export class Attempt {
  /**
   * @param {string} node our own name @param {number} link
   * @param {import("./clock.js").Clock} clock
   * @param {(message: import("./wire.js").ClientMessage) => void} send to the tracker
   */
  constructor(node, link, clock, send) {
    this.link = link;
    this.key = { child: node, link };
    this.clock = clock;
    this.send = send;
    this.upstream = /** @type {UpstreamLike} */ (/** @type {unknown} */ (null));
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
    this.startedAt = clock.now();
    /** It feeds this page until the next link does. */
    this.kept = false;
    /** When its parent said that it is about to leave. */
    this.leavingAt = 0;
    /** @type {import("./statistics.js").Sample | null} */
    this.sample = null;
    this.reported = { packets: 0, lost: 0 };
    /** @type {() => void} */
    this.cancelDeadline = () => {};
  }

  /** @param {import("./wire.js").LinkKey} key */
  is(key) {
    return key.child === this.key.child && key.link === this.link;
  }

  /** @param {number} ms @param {() => void} run */
  deadline(ms, run) {
    this.cancelDeadline();
    this.cancelDeadline = this.clock.after(ms, run);
  }

  /** Tells the tracker the candidates it does not know yet. */
  tell() {
    if (!this.asked) return;
    for (const candidate of this.candidates.slice(this.told)) {
      this.send({ candidate: { link: this.key, candidate } });
    }
    this.told = this.candidates.length;
  }

  /**
   * The tracker has named the parent.
   * @param {Extract<import("./wire.js").ServerMessage, { tag: "assigned" }>["body"]} order
   * @param {(reason: LostReason) => void} late when no connection stands in time
   */
  assigned({ parent, generation, depth }, late) {
    Object.assign(this, { parent, generation, depth });
    this.deadline(CONNECT_TIMEOUT, () => {
      // Without an answer nothing was tried, so the way between the two may be good.
      const tried = this.upstream.reached ? "closed" : "unreachable";
      late(this.answered ? tried : "silent");
    });
  }

  /** What the parent says by way of the tracker. @param {string} sdp */
  answer(sdp) {
    if (!this.parent || this.answered) return;
    this.answered = true;
    void this.upstream.answer(sdp);
  }

  attached() {
    this.send({ attached: { link: this.key, generation: this.generation } });
  }

  close() {
    this.cancelDeadline();
    this.upstream.close();
  }

  retire() {
    this.cancelDeadline();
    this.kept = false;
    this.upstream.retire();
  }
}
