/**
 * The standby: a second parent, connected and silent, and the watch over the one that feeds. When
 * that one gives no sign of life, the standby is asked to feed beside it. Then either the parent
 * speaks again and stays, or the standby's picture takes the screen and the standby is the parent.
 */

/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./wire.js").Lost} Lost */
/** @typedef {import("./wire.js").LostReason} LostReason */
/** @typedef {import("./wire.js").ServerMessage} ServerMessage */

/** Time (ms) from the first picture, or from a change, to asking for a standby; between two tries. */
const ASK_DELAY = 1000;
const ASK_RETRY = 5000;
/** A tracker that says nothing of a request this long (ms) has lost it. */
const ASK_TIMEOUT = 10_000;
/** A parent is suspected when it was silent this long (ms); after false alarms, at most so long. */
const SUSPECT = 120;
const SUSPECT_MOST = 480;
/** Time (ms) without a false alarm after which it is suspected sooner again. */
const SUSPECT_MEMORY = 30_000;
/** Time (ms) between two looks at the parent. */
const LOOK = 40;
/** A standby that feeds is the parent when that was silent this long (ms). */
const COMMIT = 500;
/** A standby that was asked to feed and sends nothing this long (ms) cannot. */
const TRIAL = 350;
/** How long (ms) a parent may have packets and send none, and may be without a parent. */
const STARVES = 500;
const HEALING = 1000;
/** A link that carried media once is replaced this long (ms) after it fell silent. */
const REFRESH = 10_000;
/** A request to feed may arrive after the word to stop: that is said twice, so far (ms) apart. */
const HUSH = 300;

/** @typedef {"silent" | "starved" | "leaving" | "gone"} Why */

/**
 * What the standby needs of the peer it stands by for.
 * @typedef {object} StandbyWorld
 * @property {import("./clock.js").Clock} clock
 * @property {string} stream
 * @property {(message: import("./wire.js").ClientMessage) => void} send to the tracker
 * @property {() => Attempt} attempt makes a link that is silent until it is asked
 * @property {() => import("./wire.js").IceServer[]} servers
 * @property {() => Attempt | null} feeding the link whose parent feeds this page
 * @property {() => boolean} away whether the broadcaster is
 * @property {() => boolean} free whether the tracker can be asked, and nothing else is going on
 * @property {(attempt: Attempt) => void} prepare its media is about to come: show it when it is later than the picture on screen
 * @property {(attempt: Attempt) => void} dismiss its media is not wanted after all
 * @property {(attempt: Attempt, lost: Lost | null, shown: boolean) => void} promote it is the parent now
 * @property {(why: Why, lost: Lost | null) => void} failed there is no standby to take over
 */

export class Standby {
  /** @param {StandbyWorld} world */
  constructor(world) {
    this.world = world;
    /** @type {Attempt | null} */
    this.attempt = null;
    /** The one before, which did not do. @type {Lost | null} */
    this.lost = null;
    /** @type {{ why: Why, since: number, lost: Lost | null } | null} */
    this.trial = null;
    this.patience = SUSPECT;
    this.alarmAt = 0;
    this.lookAt = 0;
    /** What this page itself slept through is nobody's silence. */
    this.excusedAt = 0;
    /** @type {() => void} */
    this.cancelAsk = () => {};
    /** @type {() => void} */
    this.cancelRefresh = () => {};
    /** @type {() => void} */
    this.cancelLook = () => {};
  }

  /** The node that stands by, if it could take over now. */
  get ready() {
    const { attempt } = this;
    const fit = attempt?.connected && attempt.upstream.current && attempt.upstream.healingSince === 0;
    return fit ? attempt : null;
  }

  /** Somebody feeds this page: what if it fails? @param {number} [delay] ms */
  want(delay = ASK_DELAY) {
    this.cancelAsk();
    this.cancelAsk = this.world.clock.after(delay, () => this.#ask());
  }

  #ask() {
    if (this.attempt) return;
    const { world } = this;
    if (!world.free() || (world.feeding()?.depth ?? 0) < 2) return this.want(ASK_RETRY);
    const attempt = world.attempt();
    this.attempt = attempt;
    attempt.deadline(ASK_TIMEOUT, () => this.drop(null, ASK_RETRY));
    void this.#send(attempt).catch(() => this.#is(attempt) && this.drop(null, ASK_RETRY));
  }

  /** @param {Attempt} attempt */
  async #send(attempt) {
    const { world, lost } = this;
    const offer = await attempt.offer;
    if (!this.#is(attempt)) return;
    if (!world.free()) return this.drop(null, ASK_RETRY);
    world.send({ stand_by: { stream: world.stream, link: attempt.link, offer, lost } });
    this.lost = null;
    attempt.asked = true;
    await attempt.upstream.begin(world.servers());
  }

  /** @param {Attempt} attempt */
  #is(attempt) {
    return this.attempt === attempt;
  }

  /** The tracker says something about the standby's link. @param {ServerMessage} message */
  heard(message) {
    const { attempt } = this;
    if (!attempt) return;
    switch (message.tag) {
      case "assigned":
        if (attempt.answered) return this.drop("closed", ASK_DELAY);
        attempt.assigned(message.body, (reason) => this.drop(reason, ASK_RETRY));
        return;
      case "answer":
        return attempt.answer(message.body.sdp);
      case "candidate":
        return attempt.upstream.candidate(message.body.candidate);
      case "no_standby":
      case "release":
        // What feeds may do all the same.
        if (!this.trial) this.drop(null, attempt.connected ? 0 : ASK_RETRY);
        return;
      default:
    }
  }

  /** @param {Attempt} attempt */
  connected(attempt) {
    attempt.connected = true;
    attempt.cancelDeadline();
    attempt.attached();
    this.lookAt = this.excusedAt = this.world.clock.now();
    this.cancelLook();
    this.cancelLook = this.world.clock.every(LOOK, () => void this.#look());
  }

  /** Tells a tracker that may not know it. */
  tell() {
    const { attempt } = this;
    if (!attempt?.connected || !attempt.parent) return;
    this.world.send({ standing: { link: attempt.key, host: attempt.parent } });
  }

  /** A standby that hangs below the parent, or below this page, would fail with it. */
  revalidate() {
    const { attempt } = this;
    const parent = this.world.feeding()?.parent;
    if (!attempt?.connected || this.trial || !parent) return;
    const { path } = attempt.upstream;
    if (path.includes(parent) || path.includes(attempt.key.child)) this.drop("closed", ASK_DELAY);
  }

  /**
   * Lets the standby go, and asks for another.
   * @param {LostReason | null} reason what the tracker is told of it
   * @param {number} delay ms
   */
  drop(reason, delay) {
    const { attempt, trial } = this;
    this.forget();
    if (attempt?.parent && reason) this.lost = { parent: attempt.parent, reason };
    this.want(delay);
    if (trial) this.world.failed(trial.why, trial.lost);
  }

  /** There is no standby, and none is asked for. */
  forget() {
    const { attempt, trial } = this;
    this.cancelAsk();
    this.cancelRefresh();
    this.cancelLook();
    this.attempt = this.trial = null;
    if (!attempt) return;
    if (trial) this.world.dismiss(attempt);
    attempt.close();
  }

  /** Looks at who is silent, and whether that was the page itself. */
  async #look() {
    const now = this.world.clock.now();
    if (now - this.lookAt > 3 * LOOK) this.excusedAt = now;
    this.lookAt = now;
    const { attempt, trial } = this;
    await Promise.all([this.world.feeding()?.upstream.look(), trial && attempt?.upstream.look()]);
    if (attempt && this.#is(attempt)) this.#judge();
  }

  #judge() {
    const now = this.world.clock.now();
    const feeding = this.world.feeding();
    if (this.trial) return this.#decide(now, this.trial, feeding);
    if (!feeding?.shown || !this.ready) return;
    const { heardAt, starvesSince, healingSince } = feeding.upstream;
    if (this.patience > SUSPECT && now - this.alarmAt > SUSPECT_MEMORY) {
      this.alarmAt = now;
      this.patience = Math.max(SUSPECT, (this.patience * 2) / 3);
    }
    if (now - Math.max(heardAt, this.excusedAt) >= this.patience) this.#try("silent");
    else if (starvesSince > 0 && now - starvesSince >= STARVES) this.#try("starved");
    else if (healingSince > 0 && now - healingSince >= HEALING && !this.world.away()) this.#try("starved");
  }

  /** @param {Why} why @param {Lost | null} [lost] */
  #try(why, lost = null) {
    const { attempt } = this;
    if (!attempt) return;
    this.cancelRefresh();
    this.trial = { why, since: this.world.clock.now(), lost };
    attempt.upstream.activate();
    this.world.prepare(attempt);
  }

  /** @param {number} now @param {NonNullable<Standby["trial"]>} trial @param {Attempt | null} feeding */
  #decide(now, trial, feeding) {
    const { attempt } = this;
    if (!attempt) return;
    const heardAt = feeding?.upstream.heardAt ?? 0;
    const media = (feeding?.upstream.mediaAt ?? 0) > trial.since;
    if (trial.why === "silent" ? heardAt > trial.since : trial.why === "starved" && media) {
      return this.#acquit(now);
    }
    const delivers = attempt.upstream.mediaAt > trial.since;
    if (!delivers) {
      if (now - trial.since >= TRIAL) this.drop("starved", ASK_DELAY);
      return;
    }
    // While the parent feeds on, the standby's picture decides: see shown().
    const silent = trial.why === "silent" && now - heardAt >= COMMIT;
    if (silent || trial.why === "gone" || trial.why === "starved") this.#promote();
  }

  /** The parent feeds again: it was a false alarm. @param {number} now */
  #acquit(now) {
    const { attempt, trial } = this;
    if (!attempt || !trial) return;
    this.trial = null;
    this.alarmAt = now;
    this.patience = Math.min(SUSPECT_MOST, this.patience * 1.5);
    this.world.dismiss(attempt);
    attempt.upstream.deactivate();
    this.world.clock.after(HUSH, () => {
      if (this.#is(attempt) && !this.trial) attempt.upstream.deactivate();
    });
    // It has carried media, or still will: the request is on its way.
    const refresh = () => {
      if (!this.#is(attempt) || this.trial) return;
      if (this.world.free()) return this.drop(null, 0);
      this.cancelRefresh = this.world.clock.after(REFRESH, refresh);
    };
    this.cancelRefresh();
    this.cancelRefresh = this.world.clock.after(REFRESH, refresh);
  }

  /** The picture of this link is on screen. Whether it is the standby's. @param {number} link */
  shown(link) {
    if (!this.trial || this.attempt?.link !== link) return false;
    this.#promote(true);
    return true;
  }

  /** @param {boolean} [shown] */
  #promote(shown = false) {
    const { attempt, trial } = this;
    if (!attempt || !trial) return;
    this.cancelLook();
    this.cancelRefresh();
    this.attempt = this.trial = null;
    const parent = this.world.feeding()?.parent;
    /** @type {LostReason} */
    const reason = trial.why === "gone" ? "closed" : trial.why;
    this.world.promote(attempt, trial.lost ?? (parent ? { parent, reason } : null), shown);
    this.want();
  }

  /** The parent is gone. Whether the standby takes its place. @param {Lost | null} lost */
  takeOver(lost) {
    if (!this.ready) {
      if (this.trial) {
        this.forget();
        this.want();
      }
      return false;
    }
    if (this.trial) {
      this.trial = { ...this.trial, why: "gone", lost };
      this.#judge();
    } else {
      this.#try("gone", lost);
    }
    return true;
  }

  /** The parent is about to leave. Whether the standby takes its place. */
  relieve() {
    if (!this.ready) return false;
    if (this.trial) this.trial.why = "leaving";
    else this.#try("leaving");
    return true;
  }
}
