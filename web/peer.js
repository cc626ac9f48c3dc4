/**
 * This page's place in the tree: asks the tracker for a parent, connects to it, tells how it goes,
 * and asks for another one when it is gone. Knows no page and no network; both are handed in, so
 * that the whole of it runs in tests.
 */
import { Attempt } from "./attempt.js";
import { viewOf } from "./peer-view.js";
import { reportOf } from "./report.js";
import { Standby } from "./standby.js";
import { decodeInfo } from "./wire.js";

/** @typedef {import("./wire.js").ServerMessage} ServerMessage */
/** @typedef {import("./wire.js").Lost} Lost */
/** @typedef {import("./wire.js").LostReason} LostReason */
/** @typedef {import("./wire.js").StreamStatus} StreamStatus */
/** @typedef {import("./tracker-link.js").Welcome} Welcome */
/** @typedef {import("./statistics.js").Sample} Sample */
/** @typedef {import("./peer-contract.js").PeerState} PeerState */
/** @typedef {import("./peer-contract.js").PeerWorld} PeerWorld */

/** A join that the tracker neither answers nor queues is said again after this long (ms). */
const JOIN_TIMEOUT = 6000;
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
/** A page that shows no picture of what it decodes since this long (ms) is in the background. */
const UNSEEN = 1500;
/** The old parent feeds until the new one's picture is up, or for this long (ms) from the new link's
 * standing on, shorter than its reservation; one that leaves, for as long from then on. */
const HANDOVER = 3500;
const LEAVING = 1800;
/** Time (ms) from the loss of a standby to asking for another. */
const STANDBY_RETRY = 5000;

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
    /** Whose picture is still on screen while `current` is not; it may feed on. @type {Attempt | null} */
    this.previous = null;
    this.standby = new Standby({
      clock: world.clock,
      stream,
      send: (message) => world.send(message),
      attempt: () => this.#make(true),
      servers: () => this.terms?.ice_servers ?? [],
      feeding: () => this.feeding,
      free: () => this.trackerUp && this.member && !this.#away && this.current !== null && this.current === this.feeding,
      away: () => this.#away,
      prepare: ({ upstream, link }) => world.media(upstream.stream, link),
      dismiss: ({ link }) => {
        world.dismiss(link);
        // There is one place behind the screen: who waited for it gets it back.
        const { current } = this;
        if (current?.connected && !current.shown) world.media(current.upstream.stream, current.link);
      },
      promote: (attempt, lost, shown) => this.#promote(attempt, lost, shown),
      failed: (why, lost) => this.#noStandby(why, lost),
    });
    /** What the next join says was lost. @type {Lost | null} */
    this.lost = null;
    this.failures = 0;
    this.heals = 0;
    this.lossPermille = 0;
    this.nodeRetries = 0;
    /** The newest of the tracker's orders about this page. */
    this.obeyed = 0;
    /** @type {() => void} */
    this.cancelRetry = () => {};
    /** @type {() => void} */
    this.cancelReports = () => {};
  }

  /** Whether the broadcaster is away: nobody else has more, then. */
  get #away() {
    return this.status?.state === "away";
  }

  /** Prepares the first offer while the tracker is still being called. */
  start() {
    this.#attempt();
    this.world.changed();
  }

  /** Leaves for good. */
  stop() {
    this.world.send("leave");
    this.standby.forget();
    this.#discard();
    this.previous?.close();
    this.previous = null;
    this.cancelReports();
  }

  /** The link whose parent feeds this page, if one does. */
  get feeding() {
    if (this.current?.connected && !this.previous?.kept) return this.current;
    return this.previous?.kept ? this.previous : null;
  }

  /** Tries again although nothing would have happened by itself. */
  retry() {
    this.final = false;
    this.failures = 0;
    if (this.trackerUp) this.#join();
    else this.#become("connecting");
  }

  view() {
    return viewOf(this);
  }

  /** @param {Welcome} terms */
  welcomed(terms) {
    this.trackerUp = true;
    this.member = false;
    this.welcomedAt = this.world.clock.now();
    this.terms = terms;
    // A tracker counts its orders from the beginning of a session.
    this.obeyed = 0;
    this.nodeRetries = 0;
    this.cancelReports();
    const interval = Math.max(250, terms.report_interval_ms);
    this.cancelReports = this.world.clock.every(interval, () => this.#report());
    if (this.feeding) {
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
    if (!this.#restore() && !this.current?.connected) {
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
        current.cancelDeadline();
        this.ahead = message.body.ahead;
        this.detail = message.body.reason;
        if (!this.previous) this.#become("waiting", message.body.reason);
        this.world.changed();
        return;
      case "assigned":
        this.#belong();
        break;
      case "stream":
        if (message.body.stream !== this.stream) return;
        this.#belong();
        this.#status(message.body);
        return;
      case "move":
        this.#move(message.body.generation);
        return;
      case "tree":
        this.world.tree(message.body);
        return;
      case "error":
        this.#error(message.body);
        return;
      default:
    }
    if (!("link" in message.body)) return;
    if (this.standby.attempt?.is(message.body.link)) return this.standby.heard(message);
    if (!current?.is(message.body.link)) {
      if (message.tag === "release" && this.previous?.is(message.body.link)) this.#lostKept();
      return;
    }
    if (message.tag === "assigned") this.#assigned(message.body);
    else if (message.tag === "answer") current.answer(message.body.sdp);
    else if (message.tag === "candidate") current.upstream.candidate(message.body.candidate);
    else if (message.tag === "release") this.#released(current);
  }

  /** The first picture of `link` is on screen. @param {number} link */
  shown(link) {
    this.standby.shown(link);
    const { current } = this;
    if (!current || current.link !== link || current.shown || !current.connected) return;
    current.shown = true;
    current.shownAt = this.world.clock.now();
    this.lost = null;
    this.#handOver(current);
    this.previous?.close();
    this.previous = null;
    this.standby.want();
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
    this.current?.tell();
    this.standby.tell();
  }

  /** Makes the next offer. @returns {Attempt} */
  #attempt() {
    this.current = this.#make(false);
    return this.current;
  }

  /** Makes a link. @param {boolean} standby @returns {Attempt} */
  #make(standby) {
    const { world, node } = this;
    this.links += 1;
    const attempt = new Attempt(node, this.links, world.clock, (message) => world.send(message));
    const stands = () => this.standby.attempt === attempt;
    /** What its end, or its parent's, means, by what the link is by then. */
    const role = () =>
      this.current === attempt ? "current" : stands() ? "standby" : this.previous === attempt && attempt.kept ? "kept" : null;
    /** @param {() => void} run */
    const live = (run) => {
      if (role()) run();
    };
    const path = () => this.feeding?.upstream.path ?? [];
    attempt.upstream = world.upstream(
      node,
      {
        candidate: (candidate) =>
          live(() => {
            attempt.candidates.push(candidate);
            if (this.member) attempt.tell();
          }),
        connected: () => live(() => (stands() ? this.standby.connected(attempt) : this.#connected(attempt))),
        media: (stream) => live(() => !stands() && world.media(stream, attempt.link)),
        flowing: () =>
          live(() => {
            attempt.flowAt = world.clock.now();
            world.changed();
          }),
        word: () =>
          live(() => {
            const { path } = attempt.upstream;
            if (path.length > 0) attempt.depth = path.length;
            this.standby.revalidate();
            world.changed();
          }),
        drain: () => live(() => this.#leaves(attempt)),
        refused: () => live(() => stands() && this.standby.drop("starved", REFUSED_RETRY)),
        info: (info) =>
          live(() => {
            const codec = world.unplayable(info);
            if (codec !== null) return this.#unplayable(codec);
            attempt.upstream.renew(decodeInfo(info).epoch).catch(() => {});
          }),
        sample: (sample) => live(() => this.#sampled(attempt, sample)),
        lost: (reason) => {
          const lost = role();
          if (lost === "current") this.#lose(reason);
          else if (lost === "standby") this.standby.drop(reason, STANDBY_RETRY);
          else if (lost === "kept") this.#lostKept(reason);
        },
      },
      { standby, path },
    );
    attempt.offer = attempt.upstream.offer();
    attempt.offer.catch(() => {});
    return attempt;
  }

  /** Asks for a parent, with the prepared offer if there is one. */
  #join() {
    this.cancelRetry();
    let attempt = this.current;
    attempt?.cancelDeadline();
    const stale = attempt && this.world.clock.now() - attempt.startedAt > OFFER_AGE;
    if (!attempt || attempt.asked || stale) {
      this.#setAside();
      attempt = this.#attempt();
    }
    attempt.asked = true;
    // Asking again for a stream that is not there is no news to the viewer.
    if (this.state !== "absent") this.#seek("joining");
    void this.#ask(attempt);
  }

  /** Looks for a parent, which only those notice whom none feeds. @param {PeerState} state */
  #seek(state) {
    if (!this.previous?.kept) this.#become(this.previous ? "healing" : state);
  }

  /** @param {Attempt} attempt */
  async #ask(attempt) {
    try {
      const offer = await attempt.offer;
      if (this.current !== attempt || !this.trackerUp) return;
      const { stream, lost } = this;
      this.world.send({ join: { stream, link: attempt.link, offer, lost } });
      this.lost = null;
      attempt.deadline(JOIN_TIMEOUT, () => this.current === attempt && this.#failed());
      if (attempt.begun) {
        if (this.member) attempt.tell();
        return;
      }
      attempt.begun = true;
      await attempt.upstream.begin(this.terms?.ice_servers ?? []);
    } catch (error) {
      console.warn(`banyan: no connection can be prepared: ${error}`);
      if (this.current === attempt && !this.#restore()) this.#refused("offer", REFUSED_RETRY);
    }
  }

  /** @param {Extract<ServerMessage, { tag: "assigned" }>["body"]} order */
  #assigned(order) {
    const { current } = this;
    if (!current) return;
    const { parent, generation } = order;
    this.obeyed = Math.max(this.obeyed, generation);
    if (current.connected) {
      // The tracker or the parent was away meanwhile; the link stands all the same.
      if (parent !== current.parent || generation <= current.generation) return;
      current.generation = generation;
      current.attached();
      return;
    }
    // One offer cannot be answered twice: another is made, and nobody is to blame.
    if (current.answered) return this.#failed();
    const codec = this.world.unplayable(order.info);
    if (codec !== null) return this.#unplayable(codec);
    // Two nodes have one connection.
    if (this.standby.attempt?.parent === parent) this.standby.drop(null, 1000);
    this.ahead = 0;
    current.assigned(order, (reason) => this.current === current && this.#lose(reason));
    if (!this.previous) this.#become("linking");
  }

  /** @param {Attempt} attempt */
  #connected(attempt) {
    attempt.connected = true;
    attempt.cancelDeadline();
    const { previous } = this;
    if (previous?.kept) {
      const left = previous.leavingAt + LEAVING - this.world.clock.now();
      const time = previous.leavingAt > 0 ? Math.max(0, left) : HANDOVER;
      attempt.deadline(time, () =>
        // A link that stands and brings nothing is no reason to leave a parent that feeds.
        attempt.upstream.flows || previous.leavingAt > 0 ? this.#handOver(attempt) : this.#failed(),
      );
    } else attempt.attached();
    if (!this.previous) this.#become("starting");
  }

  /** From now on another parent feeds this page. @param {Attempt} attempt */
  #handOver(attempt) {
    const { previous } = this;
    if (!previous?.kept || this.current !== attempt) return;
    attempt.cancelDeadline();
    attempt.attached();
    previous.retire();
    this.standby.revalidate();
    this.world.changed();
  }

  /** There is a better place for this page. @param {number} generation */
  #move(generation) {
    if (generation <= this.obeyed) return;
    this.obeyed = generation;
    const { current } = this;
    if (current?.shown && current === this.feeding && !this.standby.trial) this.#replace();
  }

  /** Asks for another parent while the present one goes on. */
  #replace() {
    this.#setAside(true);
    if (this.trackerUp) this.#join();
    else this.#restore();
  }

  /** What was to replace a parent that feeds on comes to nothing. Whether there is one. */
  #restore() {
    const { previous } = this;
    if (!previous?.kept) return false;
    this.cancelRetry();
    // Who is fed has lost nobody, and a join that says so would cut the parent off.
    this.lost = null;
    if (this.current) this.world.dismiss(this.current.link);
    this.current?.close();
    previous.kept = false;
    this.current = previous;
    this.previous = null;
    // Who is about to leave is left again.
    if (previous.leavingAt > 0) this.#later(REJOIN_MOST, () => this.current === previous && this.#replace());
    this.world.changed();
    return true;
  }

  /** The present request or link comes to nothing, and nobody is to blame. */
  #failed() {
    if (!this.#restore()) this.#rejoin();
  }

  /** The tracker takes a link back. @param {Attempt} current */
  #released(current) {
    if (current.connected) this.#lose("closed");
    else this.#failed();
  }

  /** The old parent is gone before the new one feeds. @param {LostReason} [reason] */
  #lostKept(reason = "closed") {
    const { previous } = this;
    if (!previous?.kept) return;
    if (!this.current?.connected && this.standby.ready) {
      this.#restore();
      return this.#lose(reason);
    }
    previous.retire();
    if (previous.parent) this.lost = { parent: previous.parent, reason };
    if (this.current?.connected) this.current.attached();
    else this.#become("healing");
  }

  /** A parent or standby is about to leave. @param {Attempt} attempt */
  #leaves(attempt) {
    attempt.leavingAt = this.world.clock.now();
    if (this.standby.attempt === attempt) this.standby.drop("leaving", STANDBY_RETRY);
    else if (attempt !== this.current || attempt !== this.feeding) return;
    else if (!this.standby.relieve() && attempt.shown) this.#replace();
  }

  /**
   * The standby is the parent.
   * @param {Attempt} standby @param {Lost | null} lost @param {boolean} shown
   */
  #promote(standby, lost, shown) {
    const { current, feeding } = this;
    if (current && current !== feeding) {
      current.close();
      this.current = feeding;
    }
    this.cancelRetry();
    this.#setAside();
    this.current = standby;
    this.heals += 1;
    this.lost = null;
    if (standby.parent) this.world.send({ switched: { link: standby.key, parent: standby.parent, lost } });
    if (!shown) this.#become("healing");
  }

  /** There is no standby after all. @param {import("./standby.js").Why} why @param {Lost | null} lost */
  #noStandby(why, lost) {
    if (why === "leaving") this.#replace();
    else if (why === "silent" && this.previous?.kept) this.#lostKept("silent");
    else if (why === "silent") this.#lose("silent");
    else if (why === "gone") this.#bereft(lost);
  }

  /** @param {Attempt} attempt @param {Sample} sample */
  #sampled(attempt, sample) {
    attempt.sample = sample;
    if (attempt === this.current && !attempt.shown && attempt.upstream.flows) {
      const waited = this.world.clock.now() - attempt.flowAt;
      const onlySound = sample.framesDecoded === 0 && sample.width === 0 && sample.audioSamples > 0;
      const unseen = sample.framesDecoded > 0 && waited > (this.previous?.kept ? HANDOVER : UNSEEN);
      if (unseen || (onlySound && waited > 2000 && this.#soundOnly())) this.shown(attempt.link);
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

  /** The parent is gone or never came. @param {LostReason} reason */
  #lose(reason) {
    const { current } = this;
    if (!current) return;
    current.cancelDeadline();
    const lost = current.parent ? { parent: current.parent, reason } : null;
    if (!current.shown) {
      this.lost = lost ?? this.lost;
      return this.#failed();
    }
    if (!this.standby.takeOver(lost)) this.#bereft(lost);
  }

  /** Nobody feeds this page, and nobody stands by. @param {Lost | null} lost */
  #bereft(lost) {
    const { current } = this;
    if (lost) this.lost = lost;
    if (current?.shown) {
      this.heals += 1;
      if (this.world.clock.now() - current.shownAt > STABLE) this.failures = 0;
    }
    this.#rejoin();
  }

  /** Joins again, the sooner the fewer joins failed before. */
  #rejoin() {
    this.#setAside();
    const first = this.failures === 0;
    this.failures = Math.min(this.failures + 1, 10);
    if (!this.trackerUp) {
      this.#become(this.previous ? "healing" : "connecting");
      return;
    }
    if (first) return this.#join();
    const most = Math.min(REJOIN_MOST, REJOIN_LEAST * 2 ** this.failures);
    this.#seek("joining");
    this.#retry(REJOIN_LEAST + this.world.clock.random() * most);
  }

  /** @param {number} ms */
  #retry(ms) {
    this.#later(ms, () => {
      if (this.trackerUp && !this.feeding) this.#join();
    });
  }

  /** @param {number} ms @param {() => void} run */
  #later(ms, run) {
    this.cancelRetry();
    this.cancelRetry = this.world.clock.after(ms, run);
  }

  /**
   * Ends the current attempt; if it is what the screen shows, its picture stays.
   * @param {boolean} [keep] whether its media goes on meanwhile
   */
  #setAside(keep = false) {
    const { current } = this;
    this.current = null;
    if (!current) return;
    current.cancelDeadline();
    if (current.shown) {
      if (!keep) current.retire();
      current.kept = keep;
      this.previous?.close();
      this.previous = current;
    } else {
      this.world.dismiss(current.link);
      current.close();
    }
  }

  /** Ends the current attempt and every plan for another. */
  #discard() {
    this.cancelRetry();
    this.current?.close();
    this.current = null;
  }

  /** @param {string} codec */
  #unplayable(codec) {
    this.world.send("leave");
    this.member = false;
    this.standby.forget();
    this.#discard();
    this.previous?.close();
    this.previous = null;
    this.final = true;
    this.#become("unplayable", codec);
  }

  /** @param {string} code @param {number | null} retry ms, or null for never */
  #refused(code, retry) {
    if (this.feeding) return;
    const absent = code === "unknown_stream" || code === "ended";
    if (absent && this.current && !this.current.answered) {
      // Nobody has seen the offer: it serves again.
      this.current.cancelDeadline();
      this.current.asked = false;
      this.current.told = 0;
    } else {
      this.#discard();
    }
    this.final = retry === null;
    this.#become(absent ? "absent" : "refused", code);
    if (retry !== null) this.#retry(retry * (1 + 0.2 * this.world.clock.random()));
  }

  /** @param {StreamStatus} status */
  #status(status) {
    const before = this.status?.state;
    this.status = status;
    if (status.state === "live" && before !== "live" && !this.current?.asked && !this.feeding && !this.final) {
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
    if (this.nodeRetries < 5 && this.feeding) return;
    this.standby.forget();
    this.#restore();
    this.#setAside(true);
    if (this.previous) this.previous.kept = false;
    this.#discard();
    this.node = this.world.newNode();
    this.#become(this.previous ? "healing" : "connecting");
    this.world.redial();
  }

  #report() {
    const { feeding } = this;
    const now = this.world.clock.now();
    if (feeding && feeding === this.current && !this.member && now - this.welcomedAt > ADOPTION) {
      // The tracker did not find our edge again: a new one, while the old one still feeds us.
      return this.#replace();
    }
    const { report, lossPermille } = reportOf(feeding);
    if (lossPermille !== null) this.lossPermille = lossPermille;
    this.world.send({ report });
  }
}
