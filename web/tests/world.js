/** A virtual world for the peer: a clock that tests move, a tracker and parents that tests play. */
import { Peer } from "../peer.js";
import { emptySample } from "../statistics.js";

/** @typedef {import("../attempt.js").UpstreamLike} UpstreamLike */
/** @typedef {import("../clock.js").Clock} Clock */
/** @typedef {import("../upstream.js").UpstreamEvents} UpstreamEvents */

export const STREAM = "a".repeat(52);
/** @param {string} letter */
export const node = (letter) => letter.repeat(25) + "a";

/** @implements {Clock} */
export class VirtualClock {
  constructor() {
    this.time = 0;
    /** @type {{ at: number, every: number, run: () => void, over: boolean }[]} */
    this.timers = [];
    this.now = () => this.time;
    this.random = () => 0.5;
  }

  /** @param {number} ms @param {() => void} run */
  after(ms, run) {
    return this.#add(ms, 0, run);
  }

  /** @param {number} ms @param {() => void} run */
  every(ms, run) {
    return this.#add(ms, ms, run);
  }

  /** @param {number} ms @param {number} every @param {() => void} run */
  #add(ms, every, run) {
    const timer = { at: this.time + ms, every, run, over: false };
    this.timers.push(timer);
    return () => {
      timer.over = true;
    };
  }

  /** Moves time on, and lets promises settle after each timer. @param {number} ms */
  async pass(ms) {
    const end = this.time + ms;
    await settle();
    for (;;) {
      this.timers = this.timers.filter(({ over }) => !over);
      const next = this.timers.reduce(
        (first, timer) => (!first || timer.at < first.at ? timer : first),
        /** @type {typeof this.timers[number] | null} */ (null),
      );
      if (!next || next.at > end) break;
      this.time = next.at;
      if (next.every > 0) next.at += next.every;
      else next.over = true;
      next.run();
      await settle();
    }
    this.time = end;
  }
}

const settle = async () => {
  for (let i = 0; i < 8; i += 1) await null;
};

/** @implements {UpstreamLike} */
export class FakeUpstream {
  /** @param {UpstreamEvents} events @param {boolean} standby @param {VirtualClock} clock */
  constructor(events, standby, clock) {
    this.events = events;
    this.standby = standby;
    this.clock = clock;
    this.stream = /** @type {any} */ ({});
    this.remote = { heads: [], source_idle: false, healing: false };
    this.soundOnly = false;
    /** @type {string[]} */
    this.path = [];
    this.current = true;
    /** Whether its end speaks by itself. */
    this.alive = true;
    this.feeds = !standby;
    this.saidAt = 0;
    this.fedAt = 0;
    this.starvesSince = 0;
    this.healingSince = 0;
    this.shown = () => {};
    this.delayMs = 42;
    this.stillMs = 0;
    this.rtt = 4;
    this.flows = false;
    this.reached = false;
    this.begun = 0;
    this.fate = "open";
    /** @type {string[]} */
    this.heard = [];
  }

  async offer() {
    return "offer";
  }

  async begin() {
    this.begun += 1;
    this.events.candidate("candidate:1");
    this.events.candidate("");
  }

  /** @param {string} sdp */
  async answer(sdp) {
    this.heard.push(sdp);
  }

  /** @param {number} epoch */
  async renew(epoch) {
    this.heard.push(`renew ${epoch}`);
  }

  /** @param {string} candidate */
  candidate(candidate) {
    this.heard.push(candidate);
  }

  get heardAt() {
    return this.alive ? this.clock.now() : Math.max(this.saidAt, this.fedAt);
  }

  get mediaAt() {
    return this.alive && this.feeds ? this.clock.now() : this.fedAt;
  }

  /** Its end says nothing from now on. */
  freeze() {
    this.saidAt = this.clock.now();
    if (this.feeds) this.fedAt = this.saidAt;
    this.alive = false;
  }

  async look() {}

  activate() {
    this.heard.push("activate");
    this.feeds = this.alive;
  }

  deactivate() {
    this.heard.push("deactivate");
    this.feeds = false;
  }

  retire() {
    this.fate = "retired";
  }

  close() {
    this.fate = "closed";
  }

  /** Media comes, and its first picture is decoded. @param {Partial<import("../statistics.js").Sample>} [more] */
  play(more = {}) {
    if (!this.flows) {
      this.flows = true;
      this.events.flowing();
    }
    this.events.sample({ ...emptySample(), packets: 100, framesDecoded: 10, width: 640, ...more });
    if (more.framesDecoded !== 0) this.shown();
  }
}

export class World {
  constructor() {
    this.clock = new VirtualClock();
    /** @type {any[]} */
    this.sent = [];
    /** @type {FakeUpstream[]} */
    this.upstreams = [];
    /** @type {string | null} */
    this.lacks = null;
    this.redials = 0;
    this.names = 0;
    /** The link whose picture waits to be shown. */
    this.prepared = 0;
    /** @type {string[]} */
    this.states = [];
    this.peer = new Peer(STREAM, {
      clock: this.clock,
      send: (message) => this.sent.push(message),
      redial: () => {
        this.redials += 1;
      },
      upstream: (_node, events, { standby }) => {
        const upstream = new FakeUpstream(events, standby, this.clock);
        const link = this.upstreams.push(upstream);
        upstream.shown = () => this.peer.shown(link);
        return upstream;
      },
      newNode: () => node("bcdefgh"[this.names++]),
      unplayable: () => this.lacks,
      media: (_stream, link) => {
        this.prepared = link;
      },
      dismiss: (link) => {
        if (this.prepared === link) this.prepared = 0;
      },
      tree: () => {},
      changed: () => {
        const { state } = this.peer;
        if (this.states.at(-1) !== state) this.states.push(state);
      },
    });
    this.peer.start();
  }

  /** The newest connection to a parent. */
  get upstream() {
    return /** @type {FakeUpstream} */ (this.upstreams.findLast(({ standby }) => !standby));
  }

  /** The newest connection to a standby. */
  get standby() {
    return /** @type {FakeUpstream} */ (this.upstreams.findLast(({ standby }) => standby));
  }

  /** The tracker welcomes us. */
  async welcome() {
    this.peer.welcomed({ version: 1, ice_servers: [], observed: "", report_interval_ms: 1000 });
    await this.clock.pass(0);
  }

  /** @param {string} tag @param {any} body */
  async hear(tag, body) {
    this.peer.heard(/** @type {any} */ ({ tag, body }));
    await this.clock.pass(0);
  }

  /** @param {"waiting" | "live" | "offline"} state */
  status(state) {
    return this.hear("stream", { stream: STREAM, title: "T", state, viewers: 1, waiting: 0, info: null });
  }

  /** @param {string} code */
  error(code) {
    return this.hear("error", { code, message: "", fatal: false });
  }

  get link() {
    return { child: this.peer.node, link: this.peer.current?.link ?? 0 };
  }

  /** @param {string} parent */
  assign(parent) {
    const info = { body: "{}", signature: "" };
    return this.hear("assigned", { link: this.link, parent, generation: 3, depth: 2, info });
  }

  /** The whole way to a picture from `parent`. @param {string} parent */
  async play(parent) {
    await this.status("live");
    await this.assign(parent);
    await this.hear("answer", { link: this.link, sdp: "answer" });
    this.upstream.events.connected();
    this.upstream.play();
    await this.clock.pass(0);
  }

  /** The whole way to a standby that stands. @param {string} host */
  async standBy(host) {
    await this.clock.pass(1100);
    const link = { child: this.peer.node, link: this.upstreams.length };
    const info = { body: "{}", signature: "" };
    await this.hear("assigned", { link, parent: host, generation: 4, depth: 2, info });
    await this.hear("answer", { link, sdp: "answer" });
    this.standby.path = [node("r"), host];
    this.standby.events.connected();
    await this.clock.pass(0);
    return link;
  }

  /** What was sent under `tag` since the last call of it. @param {string} tag */
  take(tag) {
    const of = (/** @type {any} */ message) => (typeof message === "string" ? message : Object.keys(message)[0]);
    const taken = this.sent.filter((message) => of(message) === tag).map((message) => message[tag] ?? null);
    this.sent = this.sent.filter((message) => of(message) !== tag);
    return taken;
  }
}
