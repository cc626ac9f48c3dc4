/**
 * The page's line to its tracker: one WebSocket that comes back by itself.
 */
import { PROTOCOL_VERSION, SUBPROTOCOL, WireError, decodeServer, encode } from "./wire.js";

/** @typedef {import("./wire.js").ServerMessage} ServerMessage */
/** @typedef {import("./wire.js").ClientMessage} ClientMessage */
/** @typedef {Extract<ServerMessage, { tag: "welcome" }>["body"]} Welcome */

/** Least and most time in milliseconds before the line is tried again. */
const RETRY_LEAST = 500;
const RETRY_MOST = 5000;
/** A line that was not welcomed after this many milliseconds is tried anew. */
const WELCOME_TIMEOUT = 8000;
/** A line that stood this long was a good one: the next wait is short again. */
const STABLE = 10_000;

/**
 * @typedef {object} TrackerLinkOptions
 * @property {string} url
 * @property {import("./clock.js").Clock} clock
 * @property {(url: string, protocol: string) => WebSocket} [open]
 * @property {() => string} node who calls; asked at every call
 * @property {string} agent
 * @property {(welcome: Welcome) => void} welcomed
 * @property {(message: ServerMessage) => void} message
 * @property {() => void} down
 */

export class TrackerLink {
  /** @param {TrackerLinkOptions} options */
  constructor(options) {
    this.options = options;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.up = false;
    this.tries = 0;
    this.upSince = 0;
    this.stopped = false;
    /** @type {() => void} */
    this.cancel = () => {};
  }

  start() {
    this.stopped = false;
    this.#call();
  }

  stop() {
    this.stopped = true;
    this.cancel();
    this.#drop();
  }

  /** Calls again now instead of after the current wait. */
  hurry() {
    if (this.stopped || this.socket) return;
    this.cancel();
    this.#call();
  }

  /** Hangs up and calls again after `wait` milliseconds. @param {number} wait */
  restart(wait) {
    this.cancel();
    this.#drop();
    this.options.down();
    this.cancel = this.options.clock.after(wait, () => this.#call());
  }

  /**
   * Sends `message`, or drops it while the line is down: nothing said here stays true for long.
   * @param {ClientMessage} message
   */
  send(message) {
    if (this.up) this.socket?.send(encode(message));
  }

  #call() {
    if (this.stopped) return;
    const { url, clock, node, agent } = this.options;
    const open = this.options.open ?? ((u, p) => new WebSocket(u, p));
    /** @type {WebSocket} */
    let socket;
    try {
      socket = open(url, SUBPROTOCOL);
    } catch {
      this.#retry();
      return;
    }
    this.socket = socket;
    this.cancel = clock.after(WELCOME_TIMEOUT, () => this.#lost(socket));
    socket.onopen = () =>
      socket.send(
        encode({ hello: { version: PROTOCOL_VERSION, node: node(), class: "browser", agent, slots: 0 } }),
      );
    socket.onmessage = (event) => this.#read(socket, event.data);
    socket.onclose = () => this.#lost(socket);
    socket.onerror = () => {};
  }

  /** @param {WebSocket} socket @param {unknown} data */
  #read(socket, data) {
    if (socket !== this.socket) return;
    /** @type {ServerMessage | null} */
    let message;
    try {
      message = decodeServer(data);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      console.warn(`banyan: the tracker sent something unreadable: ${error.message}`);
      return;
    }
    if (message === null) return;
    if (message.tag === "welcome") {
      this.cancel();
      this.up = true;
      this.upSince = this.options.clock.now();
      this.options.welcomed(message.body);
    } else {
      this.options.message(message);
    }
  }

  /** @param {WebSocket} socket */
  #lost(socket) {
    if (socket !== this.socket) return;
    this.cancel();
    if (this.up && this.options.clock.now() - this.upSince > STABLE) this.tries = 0;
    this.#drop();
    this.options.down();
    this.#retry();
  }

  #drop() {
    const socket = this.socket;
    this.socket = null;
    this.up = false;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #retry() {
    const { clock } = this.options;
    const most = Math.min(RETRY_MOST, RETRY_LEAST * 2 ** this.tries);
    this.tries = Math.min(this.tries + 1, 10);
    const wait = RETRY_LEAST + clock.random() * Math.max(most - RETRY_LEAST, RETRY_LEAST / 2);
    this.cancel = clock.after(wait, () => this.#call());
  }
}
