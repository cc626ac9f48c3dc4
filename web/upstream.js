/**
 * One connection to a parent: the offer, the two data channels, the media, and the watch over
 * whether the parent still lives.
 */
import { Meter } from "./statistics.js";
import {
  MAX_CANDIDATE,
  MAX_CANDIDATES,
  PROTOCOL_VERSION,
  WireError,
  decodePeer,
  encode,
} from "./wire.js";

/** @typedef {import("./statistics.js").Sample} Sample */
/** @typedef {import("./wire.js").Heartbeat} Heartbeat */
/** @typedef {import("./wire.js").Pulse} Pulse */
/** @typedef {import("./wire.js").LostReason} LostReason */
/** @typedef {import("./wire.js").OwnPeerMessage} OwnPeerMessage */

/** Milliseconds between two heartbeats, and between two looks at the statistics; with a standby
 * that sends no media, the second. */
const HEARTBEAT_INTERVAL = 250;
const STANDBY_HEARTBEAT = 2000;
/** A parent that sent neither media nor message for this many milliseconds is gone; a standby, the
 * second. */
const PARENT_SILENCE = 1000;
const STANDBY_SILENCE = 7000;
/** Activate is said this often (ms), this many times, then at the slow pace, until media comes. */
const ACTIVATE_INTERVAL = 20;
const ACTIVATE_FAST = 100;
const ACTIVATE_SLOW = 500;
/** Media that stands still this long (ms) while the parent's head moves on: the link is of no use. */
const MEDIA_STALL = 6000;

/**
 * @typedef {object} UpstreamEvents
 * @property {(candidate: string) => void} candidate one of our ICE candidates; empty for the end
 * @property {() => void} connected both ends can talk
 * @property {(stream: MediaStream) => void} media its tracks, before the first packet
 * @property {() => void} flowing the first media packet has come
 * @property {() => void} word the parent has said how it is: {@link Upstream} has it
 * @property {() => void} drain it is about to leave
 * @property {() => void} refused as a standby: it cannot feed
 * @property {(info: import("./wire.js").SignedStreamInfo) => void} info other tracks: to be renewed for
 * @property {(sample: Sample) => void} sample
 * @property {(reason: LostReason) => void} lost at most once, and nothing after it
 */

/**
 * @typedef {object} UpstreamOptions
 * @property {string} node our own name
 * @property {boolean} standby whether it sends no media before {@link Upstream.activate}
 * @property {() => string[]} path from the root to the parent that feeds this page
 * @property {import("./clock.js").Clock} clock
 * @property {UpstreamEvents} events
 */

export class Upstream {
  /** @param {UpstreamOptions} options */
  constructor(options) {
    this.options = options;
    this.clock = options.clock;
    this.connection = new RTCPeerConnection({ bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" });
    this.stream = new MediaStream();
    /** Whether the other end is to send media. */
    this.awake = !options.standby;
    this.description = "";
    this.over = false;
    this.retired = false;
    this.answered = false;
    /** Whether a path to the parent was found: what fails then may succeed another time, as when
     * the parent offered no cipher that this browser has. */
    this.reached = false;
    this.connected = false;
    this.flows = false;
    /** Round trip to the parent in milliseconds, smoothed; null before the first echo. */
    this.rtt = /** @type {number | null} */ (null);
    /** @type {Heartbeat | null} */
    this.heartbeat = null;
    this.heartbeatAt = 0;
    /** The parent's newest word of itself. @type {Pulse} */
    this.remote = { heads: [], source_idle: false, healing: false };
    /** Whether the parent sends no picture because the way from it does not carry one. */
    this.soundOnly = false;
    /** When anything, and when media came last. */
    this.heardAt = 0;
    this.mediaAt = 0;
    this.tickAt = 0;
    /** The same by the clock of the connection's statistics. */
    this.packetAt = 0;
    this.packetCount = 0;
    /** Since when the parent has had packets that did not come here, and since when it has had no
     * parent of its own; 0 for neither. */
    this.starvesSince = 0;
    this.healingSince = 0;
    /** @type {Sample | null} */
    this.last = null;
    this.meter = new Meter();
    /** @type {string[]} */
    this.early = [];
    this.sent = 0;
    /** @type {(() => void)[]} */
    this.timers = [];
    /** @type {() => void} */
    this.stopBeating = () => {};
    /** @type {() => void} */
    this.stopActivating = () => {};
    /** The tracks to be agreed on anew. @type {number | null} */
    this.epoch = null;

    const pc = this.connection;
    for (const kind of ["video", "audio"]) {
      const { receiver } = pc.addTransceiver(kind, { direction: "recvonly" });
      // The least delay the network allows; the browser still adds what jitter demands.
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
    }
    this.control = pc.createDataChannel("control", { negotiated: true, id: 0, ordered: true });
    this.pulse = pc.createDataChannel("pulse", {
      negotiated: true,
      id: 1,
      ordered: false,
      maxRetransmits: 0,
    });
    this.control.onopen = () =>
      this.#say(this.control, {
        hello: { version: PROTOCOL_VERSION, node: options.node, path: [], info: null, heads: [] },
      });
    this.pulse.onopen = () => this.#connect();
    this.control.onmessage = this.pulse.onmessage = (event) => this.#hear(event.data);
    pc.ontrack = (event) => this.#track(event.track);
    pc.onicecandidate = (event) => this.#trickle(event.candidate);
    pc.oniceconnectionstatechange = () => {
      this.reached ||= ["connected", "completed"].includes(pc.iceConnectionState);
    };
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === "failed") {
        this.#lose(this.connected ? "silent" : this.reached ? "closed" : "unreachable");
      }
      if (pc.connectionState === "closed") this.#lose("closed");
    };
  }

  /** Our session description; nothing is sent before {@link begin}. */
  async offer() {
    const offer = await this.connection.createOffer();
    this.description = askStereo(offer.sdp ?? "");
    return this.description;
  }

  /**
   * Starts ICE with the servers the tracker names.
   * @param {import("./wire.js").IceServer[]} servers
   */
  async begin(servers) {
    const iceServers = servers.map(({ urls, username, credential }) => ({
      urls,
      ...(username !== null && { username }),
      ...(credential !== null && { credential }),
    }));
    try {
      this.connection.setConfiguration({
        iceServers,
        bundlePolicy: "max-bundle",
        rtcpMuxPolicy: "require",
      });
    } catch {
      console.warn("banyan: this browser refuses the tracker's ICE servers; going on without them");
    }
    await this.connection.setLocalDescription({ type: "offer", sdp: this.description });
  }

  /** The parent's answer. @param {string} sdp */
  async answer(sdp) {
    if (this.answered || this.over) return;
    this.answered = true;
    try {
      await this.connection.setRemoteDescription({ type: "answer", sdp });
    } catch (error) {
      console.warn(`banyan: the parent's answer cannot be used: ${error}`);
      this.#lose("unusable");
      return;
    }
    const early = this.early.splice(0);
    for (const candidate of early) this.#add(candidate);
  }

  /**
   * Offers anew, for other tracks. A parent says bye to whoever does not get to an answer.
   * @param {number} epoch
   */
  async renew(epoch) {
    this.stopActivating();
    this.epoch = epoch;
    const sdp = await this.offer();
    await this.connection.setLocalDescription({ type: "offer", sdp });
    if (this.epoch === epoch) this.#say(this.control, { offer: { epoch, sdp } });
  }

  /** @param {{ epoch: number, sdp: string }} answer */
  async #renewed({ epoch, sdp }) {
    if (epoch !== this.epoch) return;
    await this.connection.setRemoteDescription({ type: "answer", sdp });
    if (epoch !== this.epoch || this.retired) return;
    this.epoch = null;
    // All is counted anew.
    this.last = null;
    this.meter = new Meter();
    if (this.awake) this.#activate();
  }

  /** Asks a standby for media. */
  activate() {
    this.awake = true;
    // A standby speaks more seldom than a parent has to.
    this.heardAt = this.clock.now();
    this.#pace();
    this.#activate();
  }

  /** Wants no media any more for now. */
  deactivate() {
    this.awake = false;
    this.stopActivating();
    this.#say(this.control, "deactivate");
    if (this.connected && !this.retired && !this.over) this.#pace();
  }

  /** One of the parent's candidates. @param {string} candidate */
  candidate(candidate) {
    if (this.over) return;
    if (this.connection.remoteDescription) this.#add(candidate);
    else if (this.early.length < 4 * MAX_CANDIDATES) this.early.push(candidate);
  }

  /** Milliseconds from the root to the screen, as far as is known. */
  get delayMs() {
    const parent = (this.heartbeat?.delay_us ?? 0) / 1000;
    return parent + (this.rtt ?? 0) / 2 + (this.last?.bufferMs ?? 0);
  }

  /** Milliseconds since the last media packet. */
  get stillMs() {
    return this.flows ? this.clock.now() - this.mediaAt : 0;
  }

  /** From the root to the parent, as far as it has said. */
  get path() {
    return this.heartbeat?.path ?? [];
  }

  /** Whether its tracks are those the stream has now. */
  get current() {
    return this.epoch === null;
  }

  /** Looks for media that came since the last look. */
  async look() {
    const stats = await this.connection.getStats().catch(() => null);
    if (stats && !this.over && !this.retired) this.#arrivals(stats);
  }

  /** @param {RTCStatsReport} stats */
  #arrivals(stats) {
    const { at, age, packets } = newestPacket(stats);
    // Where the browser does not tell when a packet came, it tells how many did.
    if (at > 0 ? at === this.packetAt : packets === this.packetCount) return;
    this.packetAt = at;
    this.packetCount = packets;
    this.#mediaCame(this.clock.now() - age);
  }

  /** Keeps the last picture but takes no more part in the link. */
  retire() {
    this.retired = true;
    this.#quiet();
    this.#say(this.control, "bye");
  }

  close() {
    this.#say(this.control, "bye");
    this.over = true;
    this.#quiet();
    this.connection.close();
  }

  #quiet() {
    this.stopActivating();
    this.stopBeating();
    for (const stop of this.timers.splice(0)) stop();
  }

  /** @param {LostReason} reason */
  #lose(reason) {
    if (this.over || this.retired) return;
    this.#quiet();
    this.retired = true;
    this.options.events.lost(reason);
  }

  /** @param {RTCDataChannel} channel @param {OwnPeerMessage} message */
  #say(channel, message) {
    if (channel.readyState !== "open") return;
    try {
      channel.send(encode(message));
    } catch {
      // A full buffer or a channel that closes this very moment: the watch over silence decides.
    }
  }

  #connect() {
    if (this.over || this.retired || this.connected) return;
    this.connected = true;
    const now = this.clock.now();
    this.heardAt = now;
    this.#pace();
    if (this.awake) this.#activate();
    this.options.events.connected();
  }

  /** Beats at the pace of a parent or of a standby, from now on. */
  #pace() {
    this.stopBeating();
    const interval = this.awake ? HEARTBEAT_INTERVAL : STANDBY_HEARTBEAT;
    this.tickAt = this.clock.now();
    this.stopBeating = this.clock.every(interval, () => this.#tick(interval));
    this.#beat();
  }

  #activate() {
    this.stopActivating();
    let said = 0;
    const say = () => {
      said += 1;
      this.#say(this.pulse, { activate: { from: { key_frame: { last_rtp_timestamp: null } } } });
      if (said === ACTIVATE_FAST) {
        this.stopActivating();
        this.stopActivating = this.clock.every(ACTIVATE_SLOW, say);
      }
    };
    this.stopActivating = this.clock.every(ACTIVATE_INTERVAL, say);
    say();
  }

  #beat() {
    const now = this.clock.now();
    const heard = this.heartbeat;
    this.#say(this.pulse, {
      heartbeat: {
        sent_us: Math.round(now * 1000),
        echo_us: heard?.sent_us ?? 0,
        held_us: heard ? Math.round((now - this.heartbeatAt) * 1000) : 0,
        heads: heard ? heard.heads.map(() => 0) : [],
        path: this.#ownPath(),
        delay_us: Math.round(this.delayMs * 1000),
        source_idle: this.remote.source_idle,
        healing: false,
      },
    });
  }

  #ownPath() {
    const path = this.options.path();
    return path.length > 0 ? [...path, this.options.node].slice(-32) : [];
  }

  /** @param {number} interval */
  #tick(interval) {
    const now = this.clock.now();
    this.#beat();
    // After a pause of this page itself (sleep, a blocked thread) nothing was heard because nobody
    // listened: messages that wait are read before the next look.
    const paused = now - this.tickAt > 2 * interval;
    this.tickAt = now;
    const most = this.awake ? PARENT_SILENCE : STANDBY_SILENCE;
    if (paused) this.heardAt = now;
    else if (now - this.heardAt > most) return this.#lose("silent");
    if (this.starvesSince > 0 && now - Math.max(this.starvesSince, this.mediaAt) > MEDIA_STALL) {
      return this.#lose("starved");
    }
    if (this.awake) void this.#measure();
  }

  /** @param {unknown} data */
  #hear(data) {
    if (this.over || this.retired) return;
    const now = this.clock.now();
    this.heardAt = now;
    /** @type {ReturnType<typeof decodePeer>} */
    let message;
    try {
      message = decodePeer(data);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      console.warn(`banyan: the parent sent something unreadable: ${error.message}`);
      return;
    }
    if (message?.tag === "info") return this.options.events.info(message.body);
    if (message?.tag === "answer") return void this.#renewed(message.body).catch(() => this.#lose("closed"));
    switch (message?.tag) {
      case "bye":
        return this.#lose("closed");
      case "drain":
        return this.options.events.drain();
      case "refuse":
        if (this.epoch === null) return this.options.events.refused();
        if (message.body.epoch === this.epoch) this.#lose("closed");
        return;
      case "picture":
        this.soundOnly = message.body.held;
        return this.options.events.word();
      case "pulse":
        return this.#word(message.body);
      case "heartbeat":
        return this.#heartbeat(message.body);
      default:
    }
  }

  /** @param {Heartbeat} heartbeat */
  #heartbeat(heartbeat) {
    // Unordered delivery: an older one says nothing new.
    if (this.heartbeat && heartbeat.sent_us <= this.heartbeat.sent_us) return;
    const now = this.clock.now();
    this.heartbeat = heartbeat;
    this.heartbeatAt = now;
    if (heartbeat.echo_us > 0) {
      const rtt = Math.max(0, now - (heartbeat.echo_us + heartbeat.held_us) / 1000);
      this.rtt = this.rtt === null ? rtt : this.rtt + (rtt - this.rtt) / 4;
    }
    this.#word(heartbeat);
  }

  /** The parent has said how it is. @param {Pulse} word */
  #word({ heads, source_idle, healing }) {
    const now = this.clock.now();
    const moves = heads.some((head, i) => head > (this.remote.heads[i] ?? head));
    if (healing || source_idle) this.starvesSince = 0;
    else if (moves && this.flows) this.starvesSince ||= now;
    this.healingSince = healing ? this.healingSince || now : 0;
    this.remote = { heads, source_idle, healing };
    this.options.events.word();
  }

  /** @param {MediaStreamTrack} track */
  #track(track) {
    this.stream.addTrack(track);
    track.onunmute = () => this.#flow();
    this.options.events.media(this.stream);
  }

  #flow() {
    if (this.over || this.retired || !this.connected || this.flows) return;
    this.#mediaCame(this.clock.now());
    this.flows = true;
    this.options.events.flowing();
  }

  /** @param {number} at */
  #mediaCame(at) {
    if (at <= this.mediaAt) return;
    this.mediaAt = at;
    this.heardAt = Math.max(this.heardAt, at);
    this.starvesSince = 0;
    if (this.epoch === null) this.stopActivating();
  }

  async #measure() {
    const { meter } = this;
    const stats = await this.connection.getStats().catch(() => null);
    if (!stats || this.over || this.retired || meter !== this.meter) return;
    const before = this.last?.packets ?? 0;
    this.last = meter.read(stats, this.clock.now());
    this.#arrivals(stats);
    if (this.last.packets > before) this.#flow();
    this.options.events.sample(this.last);
  }

  /** @param {RTCIceCandidate | null} candidate */
  #trickle(candidate) {
    if (this.over || this.retired) return;
    const { events } = this.options;
    if (!candidate || candidate.candidate === "") {
      if (!candidate) events.candidate("");
      return;
    }
    // Parents speak UDP only, and the tracker takes few candidates from each peer.
    if (candidate.protocol === "tcp" || candidate.candidate.length > MAX_CANDIDATE) return;
    this.sent += 1;
    if (this.sent <= MAX_CANDIDATES) events.candidate(candidate.candidate);
  }

  /** @param {string} candidate */
  #add(candidate) {
    if (candidate === "") return;
    this.connection.addIceCandidate({ candidate, sdpMLineIndex: 0 }).catch((error) => {
      if (!this.over) console.warn(`banyan: one of the parent's candidates is of no use: ${error}`);
    });
  }
}

/**
 * When the newest packet came by the statistics' own clock, and how long (ms) before they were made.
 * @param {RTCStatsReport} stats
 */
function newestPacket(stats) {
  const newest = { at: 0, age: 0, packets: 0 };
  stats.forEach(({ type, timestamp, packetsReceived, lastPacketReceivedTimestamp: at }) => {
    if (type !== "inbound-rtp") return;
    newest.packets += packetsReceived ?? 0;
    if (!(at > newest.at)) return;
    newest.at = at;
    newest.age = Math.max(0, timestamp - at);
  });
  return newest;
}

/**
 * Browsers decode Opus to one channel unless their own description asks for two (RFC 7587,
 * section 7.1).
 * @param {string} sdp
 */
export function askStereo(sdp) {
  const opus = /^a=rtpmap:(\d+) opus\/48000\/2\r?$/im.exec(sdp)?.[1];
  if (!opus) return sdp;
  return sdp.replace(new RegExp(`^(a=fmtp:${opus} )(?!.*\\bstereo=)(.*?)(\\r?)$`, "m"), "$1$2;stereo=1$3");
}
