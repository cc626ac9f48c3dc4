/**
 * This page's place in the tree: asks the tracker for a parent, connects to it, tells how it goes,
 * and asks for another one when it is gone. Knows no page and no network; both are handed in, so
 * that the whole of it runs in tests.
 */
import { Attempt } from "./attempt.js";
import { decodeInfo } from "./wire.js";

/** @typedef {import("./wire.js").ServerMessage} ServerMessage */
/** @typedef {import("./wire.js").ClientMessage} ClientMessage */
/** @typedef {import("./wire.js").Lost} Lost */
/** @typedef {import("./wire.js").LostReason} LostReason */
/** @typedef {import("./wire.js").StreamStatus} StreamStatus */
/** @typedef {import("./wire.js").SignedStreamInfo} SignedStreamInfo */
/** @typedef {import("./wire.js").TreeUpdate} TreeUpdate */
/** @typedef {import("./tracker-link.js").Welcome} Welcome */
/** @typedef {import("./upstream.js").UpstreamEvents} UpstreamEvents */
/** @typedef {import("./attempt.js").UpstreamLike} UpstreamLike */
/** @typedef {import("./statistics.js").Sample} Sample */

/** A connection that does not stand this long (ms) after its parent was named will not. */
const CONNECT_TIMEOUT = 4000;
/** A join that the tracker neither answers nor queues is said again after this long (ms). */
const JOIN_TIMEOUT = 6000;
/** Picture data that arrives this long (ms) and never becomes a picture is worth a word. */
const DECODE_PATIENCE = 10_000;
/** Least and most time (ms) between two joins when they keep failing. */
const REJOIN_LEAST = 100;
const REJOIN_MOST = 4000;
/** A parent that served this long (ms) was a good one: the next join waits least again. */
const STABLE = 10_000;
/** How often (ms) a stream that is not there is asked for. */
const ABSENT_RETRY = 3000;
/** An offer that nobody has seen is said again until it is this old (ms). */
const OFFER_AGE = 60_000;
/** How long (ms) a returning tracker may take to find our edge by both ends' reports. */
const ADOPTION = 5000;
/** How long (ms) to wait after the tracker said it has no room or did not understand. */
const REFUSED_RETRY = 8000;

/**
 * What the peer is doing:
 * - `connecting` to the tracker, for the first time or again without a picture
 * - `joining`: asked for a parent
 * - `waiting`: the tracker lets us in as soon as it can
 * - `linking`: connecting to the parent
 * - `starting`: connected, no picture yet
 * - `playing`
 * - `healing`: lost the parent, the old picture stays while the next one is found
 * - `absent`: no such stream, or it has ended; asked for again by itself
 * - `unplayable`: this browser lacks the codec
 * - `refused`: the tracker will not serve us; tried again later unless `final`
 * @typedef {"connecting" | "joining" | "waiting" | "linking" | "starting" | "playing" | "healing" | "absent" | "unplayable" | "refused"} PeerState
 */

/**
 * All that a page shows about the peer.
 * @typedef {object} PeerView
 * @property {PeerState} state
 * @property {boolean} trackerUp
 * @property {string | null} detail for `waiting` the wait reason, for `unplayable` the codec, for `absent` and `refused` the tracker's error code
 * @property {boolean} final whether nothing more happens by itself
 * @property {number} ahead peers let in before us
 * @property {StreamStatus | null} status
 * @property {string} node
 * @property {string | null} parent
 * @property {number | null} depth
 * @property {number | null} link
 * @property {number | null} delayMs
 * @property {number | null} rttMs
 * @property {boolean} sourceIdle the broadcaster has paused
 * @property {boolean} upstreamHealing a node above us changes its parent
 * @property {boolean} stalled no media for a while although the parent lives
 * @property {boolean} undecoded media comes but no picture
 * @property {number} heals parents lost after they had served us
 * @property {number} lossPermille over the last report interval
 * @property {Sample | null} sample
 */

/**
 * @typedef {object} PeerWorld
 * @property {import("./clock.js").Clock} clock
 * @property {(message: ClientMessage) => void} send to the tracker; dropped while the line is down
 * @property {() => void} redial hang up on the tracker and call again as another node
 * @property {(node: string, events: UpstreamEvents) => UpstreamLike} upstream
 * @property {() => string} newNode
 * @property {(info: SignedStreamInfo) => string | null} unplayable the codec this browser lacks
 * @property {(stream: MediaStream, link: number) => void} media show this; say `shown(link)` when its first picture is up
 * @property {(update: TreeUpdate) => void} tree
 * @property {() => void} changed the view has changed
 */

export class Peer {
  /** @param {string} stream @param {PeerWorld} world */
  constructor(stream, world) {
    this.stream = stream;
    this.world = world;
    this.node = world.newNode();
    /** @type {PeerState} */
    this.state = "connecting";
    /** @type {string | null} */
    this.detail = null;
    this.final = false;
    this.ahead = 0;
    /** @type {StreamStatus | null} */
    this.status = null;
    this.trackerUp = false;
    /** Whether the tracker counts us among the stream's peers in this session. */
    this.member = false;
    this.welcomedAt = 0;
    /** @type {Welcome | null} */
    this.terms = null;
    this.links = 0;
    /** The attempt that is being made or that feeds us. @type {Attempt | null} */
    this.current = null;
    /** Whose picture is still on screen while `current` is not. @type {Attempt | null} */
    this.previous = null;
    /** What the next join says was lost. @type {Lost | null} */
    this.lost = null;
    this.failures = 0;
    this.heals = 0;
    this.lossPermille = 0;
    this.nodeRetries = 0;
    /** @type {() => void} */
    this.cancelRetry = () => {};
    /** @type {() => void} */
    this.cancelDeadline = () => {};
    /** @type {() => void} */
    this.cancelReports = () => {};
  }

  /** Prepares the first offer while the tracker is still being called. */
  start() {
    this.#attempt();
    this.world.changed();
  }

  /** Leaves for good. */
  stop() {
    this.world.send("leave");
    this.#discard();
    this.previous?.upstream?.close();
    this.previous = null;
    this.cancelReports();
  }

  /** Tries again although nothing would have happened by itself. */
  retry() {
    this.final = false;
    this.failures = 0;
    if (this.trackerUp) this.#join();
    else this.#become("connecting");
  }

  /** @returns {PeerView} */
  view() {
    const fed = this.current?.connected ? this.current : null;
    const delay = fed?.upstream?.flows ? fed.upstream.delayMs : null;
    return {
      state: this.state,
      trackerUp: this.trackerUp,
      detail: this.detail,
      final: this.final,
      ahead: this.ahead,
      status: this.status,
      node: this.node,
      parent: fed?.parent ?? null,
      depth: fed?.depth ?? null,
      link: fed?.link ?? null,
      delayMs: delay,
      rttMs: fed?.upstream?.rtt ?? null,
      sourceIdle: fed?.sourceIdle ?? false,
      upstreamHealing: fed?.healing ?? false,
      stalled: (fed?.upstream?.stillMs ?? 0) > 1500,
      undecoded: fed !== null && this.#undecoded(fed),
      heals: this.heals,
      lossPermille: this.lossPermille,
      sample: fed?.sample ?? null,
    };
  }

  /** @param {Welcome} terms */
  welcomed(terms) {
    this.trackerUp = true;
    this.member = false;
    this.welcomedAt = this.world.clock.now();
    this.terms = terms;
    this.nodeRetries = 0;
    this.cancelReports();
    const interval = Math.max(250, terms.report_interval_ms);
    this.cancelReports = this.world.clock.every(interval, () => this.#report());
    if (this.current?.connected) {
      // Whoever still has its parent only says so, and the tracker takes the edge as it is.
      this.#report();
      this.world.changed();
    } else if (!this.final) {
      this.#join();
    }
  }

  /** The line to the tracker is down; media goes on. */
  trackerDown() {
    this.trackerUp = false;
    this.member = false;
    this.cancelReports();
    if (!this.current?.connected) {
      this.#discard();
      if (!this.final) this.#become(this.previous ? "healing" : "connecting");
    }
    this.world.changed();
  }

  /** @param {ServerMessage} message */
  heard(message) {
    const { current } = this;
    switch (message.tag) {
      case "waiting":
        this.#belong();
        if (!current || current.connected) return;
        this.cancelDeadline();
        this.ahead = message.body.ahead;
        this.detail = message.body.reason;
        if (this.state !== "healing") this.#become("waiting", message.body.reason);
        this.world.changed();
        return;
      case "assigned":
        this.#belong();
        if (this.#ours(message.body.link)) this.#assigned(message.body);
        return;
      case "answer":
        if (!this.#ours(message.body.link) || !current?.parent || current.answered) return;
        current.answered = true;
        void current.upstream?.answer(message.body.sdp);
        return;
      case "candidate":
        if (this.#ours(message.body.link)) current?.upstream?.candidate(message.body.candidate);
        return;
      case "stream":
        if (message.body.stream !== this.stream) return;
        this.#belong();
        this.#status(message.body);
        return;
      case "tree":
        this.world.tree(message.body);
        return;
      case "error":
        this.#error(message.body);
        return;
      default:
    }
  }

  /** The first picture of `link` is on screen. @param {number} link */
  shown(link) {
    const { current } = this;
    if (!current || current.link !== link || current.shown || !current.connected) return;
    current.shown = true;
    current.shownAt = this.world.clock.now();
    this.previous?.upstream?.close();
    this.previous = null;
    this.#become("playing");
  }

  /** @param {PeerState} state @param {string | null} [detail] */
  #become(state, detail = null) {
    this.state = state;
    this.detail = detail;
    this.world.changed();
  }

  /** The tracker speaks to us as to a peer of the stream. */
  #belong() {
    if (this.member) return;
    this.member = true;
    this.world.send({ follow_tree: { follow: true } });
    this.#tell();
  }

  /** Tells the tracker the candidates it does not know yet, once it has taken our offer. */
  #tell() {
    const { current } = this;
    if (!current?.asked || !this.member) return;
    const link = { child: this.node, link: current.link };
    for (const candidate of current.candidates.slice(current.told)) {
      this.world.send({ candidate: { link, candidate } });
    }
    current.told = current.candidates.length;
  }

  /** @param {import("./wire.js").LinkKey} key */
  #ours(key) {
    return key.child === this.node && key.link === this.current?.link;
  }

  /** Makes the next offer. @returns {Attempt} */
  #attempt() {
    this.links += 1;
    const attempt = new Attempt(this.links, this.world.clock.now());
    this.current = attempt;
    /** @param {() => void} run */
    const live = (run) => {
      if (this.current === attempt) run();
    };
    attempt.upstream = this.world.upstream(this.node, {
      candidate: (candidate) =>
        live(() => {
          attempt.candidates.push(candidate);
          this.#tell();
        }),
      connected: () => live(() => this.#connected(attempt)),
      media: (stream) => live(() => this.world.media(stream, attempt.link)),
      flowing: () => live(() => this.#flowing(attempt)),
      heartbeat: ({ source_idle, healing, path }) =>
        live(() => {
          attempt.sourceIdle = source_idle;
          attempt.healing = healing;
          if (path.length > 0) attempt.depth = path.length;
          this.world.changed();
        }),
      info: (info) =>
        live(() => {
          const codec = this.world.unplayable(info);
          if (codec !== null) return this.#unplayable(codec);
          attempt.upstream?.renew(decodeInfo(info).epoch).catch(() => {});
        }),
      sample: (sample) => live(() => this.#sampled(attempt, sample)),
      lost: (reason) => live(() => this.#lose(reason)),
    });
    attempt.offer = attempt.upstream.offer();
    attempt.offer.catch(() => {});
    return attempt;
  }

  /** Asks for a parent, with the prepared offer if there is one. */
  #join() {
    this.cancelRetry();
    this.cancelDeadline();
    let attempt = this.current;
    const stale = attempt && this.world.clock.now() - attempt.startedAt > OFFER_AGE;
    if (!attempt || attempt.asked || stale) {
      this.#setAside();
      attempt = this.#attempt();
    }
    attempt.asked = true;
    // Asking again for a stream that is not there is no news to the viewer.
    if (this.state !== "absent") this.#become(this.previous ? "healing" : "joining");
    void this.#ask(attempt);
  }

  /** @param {Attempt} attempt */
  async #ask(attempt) {
    const upstream = attempt.upstream;
    if (!upstream) return;
    try {
      const offer = await attempt.offer;
      if (this.current !== attempt || !this.trackerUp) return;
      const { stream, lost } = this;
      this.world.send({ join: { stream, link: attempt.link, offer, lost } });
      this.lost = null;
      this.#deadline(attempt, JOIN_TIMEOUT, () => this.#rejoin());
      if (attempt.begun) return this.#tell();
      attempt.begun = true;
      await upstream.begin(this.terms?.ice_servers ?? []);
    } catch (error) {
      console.warn(`banyan: no connection can be prepared: ${error}`);
      if (this.current === attempt) this.#refused("offer", REFUSED_RETRY);
    }
  }

  /** @param {Attempt} attempt @param {number} ms @param {() => void} run */
  #deadline(attempt, ms, run) {
    this.cancelDeadline();
    this.cancelDeadline = this.world.clock.after(ms, () => {
      if (this.current === attempt) run();
    });
  }

  /** @param {Extract<ServerMessage, { tag: "assigned" }>["body"]} order */
  #assigned({ parent, generation, depth, info }) {
    const { current } = this;
    if (!current) return;
    if (current.connected) {
      // The tracker or the parent was away meanwhile; the link stands all the same.
      if (parent !== current.parent || generation <= current.generation) return;
      current.generation = generation;
      this.world.send({ attached: { link: { child: this.node, link: current.link }, generation } });
      return;
    }
    // One offer cannot be answered twice: another is made, and nobody is to blame.
    if (current.answered) return this.#rejoin();
    const codec = this.world.unplayable(info);
    if (codec !== null) return this.#unplayable(codec);
    this.ahead = 0;
    current.parent = parent;
    current.generation = generation;
    current.depth = depth;
    // Without an answer nothing was tried, so the way between the two may be good.
    const tried = () => (current.upstream?.reached ? "closed" : "unreachable");
    const reason = () => (current.answered ? tried() : "silent");
    this.#deadline(current, CONNECT_TIMEOUT, () => this.#lose(reason()));
    if (this.state !== "healing") this.#become("linking");
  }

  /** @param {Attempt} attempt */
  #connected(attempt) {
    attempt.connected = true;
    this.cancelDeadline();
    const link = { child: this.node, link: attempt.link };
    this.world.send({ attached: { link, generation: attempt.generation } });
    if (this.state !== "healing") this.#become("starting");
  }

  /** @param {Attempt} attempt */
  #flowing(attempt) {
    attempt.flowAt = this.world.clock.now();
    this.world.changed();
  }

  /** @param {Attempt} attempt @param {Sample} sample */
  #sampled(attempt, sample) {
    attempt.sample = sample;
    const onlySound = sample.framesDecoded === 0 && sample.width === 0 && sample.audioSamples > 0;
    const patient = this.world.clock.now() - attempt.flowAt > 2000;
    if (sample.framesDecoded > 0 || (onlySound && patient && this.#soundOnly())) {
      this.shown(attempt.link);
    }
    this.world.changed();
  }

  #soundOnly() {
    try {
      const tracks = this.status?.info ? decodeInfo(this.status.info).tracks : [];
      return tracks.length > 0 && tracks.every(({ codec }) => codec === "opus");
    } catch {
      return false;
    }
  }

  /** @param {Attempt} attempt */
  #undecoded(attempt) {
    const waited = this.world.clock.now() - attempt.flowAt;
    return attempt.flowAt > 0 && !attempt.shown && waited > DECODE_PATIENCE;
  }

  /** The parent is gone or never came. @param {LostReason} reason */
  #lose(reason) {
    const { current } = this;
    if (!current) return;
    this.cancelDeadline();
    if (current.parent) this.lost = { parent: current.parent, reason };
    if (current.shown) {
      this.heals += 1;
      if (this.world.clock.now() - current.shownAt > STABLE) this.failures = 0;
    }
    this.#rejoin();
  }

  /**
   * Joins again, the sooner the fewer joins failed before.
   * @param {{ keep?: boolean }} [how] `keep`: the current parent still serves us until then
   */
  #rejoin({ keep = false } = {}) {
    this.#setAside(keep);
    const first = this.failures === 0;
    this.failures = Math.min(this.failures + 1, 10);
    if (!this.trackerUp) {
      this.#become(this.previous ? "healing" : "connecting");
      return;
    }
    if (first) return this.#join();
    const most = Math.min(REJOIN_MOST, REJOIN_LEAST * 2 ** this.failures);
    this.#become(this.previous ? "healing" : "joining");
    this.#later(REJOIN_LEAST + this.world.clock.random() * most);
  }

  /** @param {number} ms */
  #later(ms) {
    this.cancelRetry();
    this.cancelRetry = this.world.clock.after(ms, () => {
      if (this.trackerUp && !this.current?.connected) this.#join();
    });
  }

  /**
   * Ends the current attempt; if it is what the screen shows, its picture stays.
   * @param {boolean} [keep] whether its media goes on meanwhile
   */
  #setAside(keep = false) {
    const { current } = this;
    this.current = null;
    if (!current) return;
    if (current.shown) {
      if (!keep) current.upstream?.retire();
      this.previous?.upstream?.close();
      this.previous = current;
    } else {
      current.upstream?.close();
    }
  }

  /** Ends the current attempt and every plan for another. */
  #discard() {
    this.cancelRetry();
    this.cancelDeadline();
    this.current?.upstream?.close();
    this.current = null;
  }

  /** @param {string} codec */
  #unplayable(codec) {
    this.world.send("leave");
    this.member = false;
    this.#discard();
    this.final = true;
    this.#become("unplayable", codec);
  }

  /** @param {string} code @param {number | null} retry ms, or null for never */
  #refused(code, retry) {
    if (this.current?.connected) return;
    const absent = code === "unknown_stream" || code === "ended";
    if (absent && this.current && !this.current.answered) {
      // Nobody has seen the offer: it serves again.
      this.cancelDeadline();
      this.current.asked = false;
      this.current.told = 0;
    } else {
      this.#discard();
    }
    this.final = retry === null;
    this.#become(absent ? "absent" : "refused", code);
    if (retry !== null) this.#later(retry * (1 + 0.2 * this.world.clock.random()));
  }

  /** @param {StreamStatus} status */
  #status(status) {
    const before = this.status?.state;
    this.status = status;
    if (status.state === "live" && before !== "live" && !this.current?.asked && !this.current?.connected && !this.final) {
      if (this.trackerUp) this.#join();
    }
    this.world.changed();
  }

  /** @param {Extract<ServerMessage, { tag: "error" }>["body"]} error */
  #error({ code, message }) {
    console.warn(`banyan: the tracker says ${code}: ${message}`);
    switch (code) {
      case "unknown_stream":
      case "ended":
        this.member = false;
        if (this.status) this.status = { ...this.status, state: "offline" };
        this.#refused(code, ABSENT_RETRY);
        this.world.changed();
        return;
      case "codec":
        this.#refused(code, null);
        return;
      case "version":
        this.#refused(code, null);
        return;
      case "node_busy":
        return this.#nodeBusy();
      case "unexpected":
        // Said out of turn while messages crossed; whoever waits for an answer asks again.
        return;
      default:
        this.#refused(code, REFUSED_RETRY);
    }
  }

  /** Most likely our own last session, which the tracker has not given up yet. */
  #nodeBusy() {
    this.nodeRetries += 1;
    if (this.nodeRetries < 5 && this.current?.connected) return;
    this.#setAside(true);
    this.#discard();
    this.node = this.world.newNode();
    this.#become(this.previous ? "healing" : "connecting");
    this.world.redial();
  }

  #report() {
    const { current } = this;
    const now = this.world.clock.now();
    if (current?.connected && !this.member && now - this.welcomedAt > ADOPTION) {
      // The tracker did not find our edge again: a new one, while the old one still feeds us.
      return this.#rejoin({ keep: true });
    }
    const sample = current?.sample;
    if (!current?.connected || !sample) {
      this.#sendReport(current?.connected ? current.parent : null, 0, 0, 0);
      return;
    }
    // With other tracks all counts begin anew.
    const same = sample.packets >= current.reported.packets;
    const before = same ? current.reported : { packets: 0, lost: 0 };
    const received = sample.packets - before.packets;
    const lost = Math.max(0, sample.lost - before.lost);
    current.reported = { packets: sample.packets, lost: sample.lost };
    this.lossPermille = received + lost > 0 ? Math.round((1000 * lost) / (received + lost)) : 0;
    this.#sendReport(current.parent, current.upstream?.delayMs ?? 0, lost, received);
  }

  /** @param {string | null} parent @param {number} delay @param {number} lost @param {number} received */
  #sendReport(parent, delay, lost, received) {
    this.world.send({
      report: {
        parent,
        children: [],
        slots: 0,
        delay_ms: Math.round(delay),
        lost,
        received,
        up_bytes_per_second: 0,
      },
    });
  }
}
