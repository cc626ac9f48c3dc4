/**
 * What travels between this page, its tracker and its parent.
 *
 * The shapes follow `src/wire` of the Rust side: JSON, enums externally tagged in snake_case, unit
 * variants as plain strings, no field left out. A message is read by the readers below, which
 * check every field once and give it its type, so that nothing behind them has to doubt it.
 */

export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = "banyan.1.json";

/** Most ICE candidates a tracker takes from one peer for one link. */
export const MAX_CANDIDATES = 8;
/** Longest candidate line a tracker takes, in bytes. */
export const MAX_CANDIDATE = 512;
/** Largest message taken from another peer, in characters. */
export const MAX_PEER_MESSAGE = 16 * 1024;
/** Largest frame taken from the tracker, in characters. */
export const MAX_TRACKER_FRAME = 256 * 1024;

/**
 * Reads an untrusted value as a `T` or throws a {@link WireError}.
 * @template T
 * @typedef {(value: unknown, at: string) => T} Reader
 */

/** A message that is not what it should be. */
export class WireError extends Error {}

/** @param {string} at @param {string} expected @returns {never} */
function fail(at, expected) {
  throw new WireError(`${at} should be ${expected}`);
}

/** @param {number} longest @returns {Reader<string>} */
const text = (longest) => (value, at) =>
  typeof value === "string" && value.length <= longest
    ? value
    : fail(at, `text of at most ${longest} characters`);

/** @type {Reader<number>} */
const count = (value, at) =>
  typeof value === "number" && value >= 0 && Number.isFinite(value)
    ? value
    : fail(at, "a number from 0");

/** @type {Reader<boolean>} */
const flag = (value, at) => (typeof value === "boolean" ? value : fail(at, "true or false"));

/** @type {Reader<null>} */
const unit = () => null;

/** @template T @param {Reader<T>} inner @returns {Reader<T | null>} */
const optional = (inner) => (value, at) =>
  value === null || value === undefined ? null : inner(value, at);

/** @template T @param {Reader<T>} inner @param {number} most @returns {Reader<T[]>} */
const list = (inner, most) => (value, at) => {
  if (!Array.isArray(value) || value.length > most) fail(at, `a list of at most ${most}`);
  return /** @type {unknown[]} */ (value).map((item, i) => inner(item, `${at}[${i}]`));
};

/**
 * @template {Record<string, Reader<any>>} S
 * @param {S} shape
 * @returns {Reader<{ [K in keyof S]: ReturnType<S[K]> }>}
 */
const record = (shape) => (value, at) => {
  if (typeof value !== "object" || value === null) fail(at, "an object");
  const from = /** @type {Record<string, unknown>} */ (value);
  /** @type {Record<string, unknown>} */
  const into = {};
  for (const [key, reader] of Object.entries(shape)) into[key] = reader(from[key], `${at}.${key}`);
  return /** @type {any} */ (into);
};

/**
 * @template {string} T
 * @param {readonly T[]} names
 * @returns {Reader<T>}
 */
const word = (names) => (value, at) =>
  names.find((name) => name === value) ?? fail(at, names.join(" or "));

/**
 * An externally tagged enum. A variant this page does not know reads as null: newer trackers may
 * say more.
 * @template {Record<string, Reader<any>>} S
 * @param {S} variants
 * @returns {Reader<{ [K in keyof S]: { tag: K, body: ReturnType<S[K]> } }[keyof S] | null>}
 */
const tagged = (variants) => (value, at) => {
  /** @type {[string, unknown] | undefined} */
  let entry;
  if (typeof value === "string") entry = [value, null];
  else if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value);
    if (entries.length === 1) entry = entries[0];
  }
  if (!entry) return fail(at, "one variant");
  const [tag, body] = entry;
  if (!Object.hasOwn(variants, tag)) return null;
  return { tag, body: variants[tag](body, `${at}.${tag}`) };
};

/** @type {Reader<string>} */
const nodeId = (value, at) =>
  typeof value === "string" && /^[a-z2-7]{26}$/.test(value) ? value : fail(at, "a node id");

const linkKey = record({ child: nodeId, link: count });
const signedInfo = record({ body: text(4096), signature: text(128) });
const sdp = text(24 * 1024);
const path = list(nodeId, 32);
const heads = list(count, 4);

const iceServer = record({
  urls: list(text(512), 8),
  username: optional(text(512)),
  credential: optional(text(512)),
});

const streamStatus = record({
  stream: text(52),
  title: text(200),
  state: word(/** @type {const} */ (["waiting", "live", "offline", "away"])),
  viewers: count,
  waiting: count,
  info: optional(signedInfo),
});

const treePeer = record({
  id: nodeId,
  parent: optional(nodeId),
  standby: optional(nodeId),
  depth: count,
  class: word(/** @type {const} */ (["native", "browser", "player"])),
  slots: count,
  used: count,
  age: count,
  delay_ms: count,
  loss_permille: count,
  reach: text(9),
});

const treeUpdate = record({
  reset: flag,
  upsert: list(treePeer, 1024),
  remove: list(nodeId, 1024),
  per_depth: list(count, 1024),
  hidden: count,
});

const serverMessage = tagged({
  welcome: record({
    version: count,
    ice_servers: list(iceServer, 16),
    observed: text(100),
    report_interval_ms: count,
  }),
  waiting: record({
    reason: word(/** @type {const} */ (["no_media", "full", "no_route"])),
    ahead: count,
  }),
  assigned: record({
    link: linkKey,
    parent: nodeId,
    generation: count,
    depth: count,
    info: signedInfo,
    relay: list(iceServer, 16),
  }),
  answer: record({ link: linkKey, sdp }),
  candidate: record({ link: linkKey, candidate: text(MAX_CANDIDATE) }),
  release: record({ link: linkKey }),
  no_standby: record({ link: linkKey }),
  move: record({ generation: count }),
  stream: streamStatus,
  tree: treeUpdate,
  error: record({ code: text(40), message: text(1000), fatal: flag }),
});

const heartbeat = record({
  sent_us: count,
  echo_us: count,
  held_us: count,
  heads,
  path,
  delay_us: count,
  source_idle: flag,
  healing: flag,
});

const peerMessage = tagged({
  hello: record({ version: count, node: nodeId, path, info: optional(signedInfo), heads }),
  info: signedInfo,
  heartbeat,
  pulse: record({ heads, source_idle: flag, healing: flag }),
  drain: unit,
  picture: record({ held: flag }),
  bye: unit,
  answer: record({ epoch: count, sdp, heads }),
  refuse: record({ epoch: count, reason: text(40) }),
});

const streamInfo = record({
  epoch: count,
  tracks: list(record({ codec: text(20), fmtp: text(1024) }), 4),
});

/** @typedef {NonNullable<ReturnType<typeof serverMessage>>} ServerMessage */
/** @typedef {NonNullable<ReturnType<typeof peerMessage>>} PeerMessage */
/** @typedef {ReturnType<typeof heartbeat>} Heartbeat */
/** @typedef {Pick<Heartbeat, "heads" | "source_idle" | "healing">} Pulse */
/** @typedef {ReturnType<typeof linkKey>} LinkKey */
/** @typedef {ReturnType<typeof iceServer>} IceServer */
/** @typedef {ReturnType<typeof signedInfo>} SignedStreamInfo */
/** @typedef {ReturnType<typeof streamStatus>} StreamStatus */
/** @typedef {ReturnType<typeof treePeer>} TreePeer */
/** @typedef {ReturnType<typeof treeUpdate>} TreeUpdate */
/** @typedef {ReturnType<typeof streamInfo>["tracks"][number]} TrackInfo */
/** @typedef {"unreachable" | "silent" | "closed" | "unusable" | "leaving" | "starved"} LostReason */
/** @typedef {{ parent: string, reason: LostReason }} Lost */

/**
 * @typedef {object} Report
 * @property {string | null} parent
 * @property {string[]} children
 * @property {number} slots
 * @property {number} delay_ms
 * @property {number} lost
 * @property {number} received
 * @property {number} up_bytes_per_second
 */

/**
 * @typedef {{ hello: { version: number, node: string, class: "browser", agent: string, slots: number } }
 *   | { join: { stream: string, link: number, offer: string, lost: Lost | null } }
 *   | { candidate: { link: LinkKey, candidate: string } }
 *   | { attached: { link: LinkKey, generation: number } }
 *   | { stand_by: { stream: string, link: number, offer: string, lost: Lost | null } }
 *   | { standing: { link: LinkKey, host: string } }
 *   | { switched: { link: LinkKey, parent: string, lost: Lost | null } }
 *   | { report: Report }
 *   | { follow_tree: { follow: boolean } }
 *   | "leave"} ClientMessage
 */

/**
 * @typedef {{ hello: { version: number, node: string, path: string[], info: null, heads: number[] } }
 *   | { activate: { from: { key_frame: { last_rtp_timestamp: number | null } } } }
 *   | { heartbeat: Heartbeat }
 *   | { key_frame: { track: number } }
 *   | { offer: { epoch: number, sdp: string } }
 *   | "deactivate"
 *   | "bye"} OwnPeerMessage
 */

/**
 * @template T
 * @param {Reader<T>} reader @param {unknown} data @param {number} largest @param {string} what
 * @returns {T}
 */
function decode(reader, data, largest, what) {
  if (typeof data !== "string") fail(what, "text");
  if (data.length > largest) fail(what, `at most ${largest} characters`);
  /** @type {unknown} */
  let value;
  try {
    value = JSON.parse(data);
  } catch {
    fail(what, "JSON");
  }
  return reader(value, what);
}

/**
 * Reads a frame from the tracker; null for a message this page has no use for.
 * @param {unknown} data
 */
export const decodeServer = (data) => decode(serverMessage, data, MAX_TRACKER_FRAME, "message");

/**
 * Reads a data-channel message from the parent; null for one this page has no use for.
 * @param {unknown} data
 */
export const decodePeer = (data) => decode(peerMessage, data, MAX_PEER_MESSAGE, "message");

/**
 * Reads the signed description of a stream's tracks.
 * @param {SignedStreamInfo} info
 */
export const decodeInfo = (info) => decode(streamInfo, info.body, 4096, "stream info");

/** @param {ClientMessage | OwnPeerMessage} message */
export const encode = (message) => JSON.stringify(message);

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

/**
 * RFC 4648 base32 in lower case without padding.
 * @param {Uint8Array} bytes
 */
export function base32(bytes) {
  let out = "";
  let held = 0;
  let bits = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) out += BASE32[(held >> (bits - 5)) & 31];
    held &= (1 << bits) - 1;
  }
  return bits > 0 ? out + BASE32[(held << (5 - bits)) & 31] : out;
}

/** A fresh name for this node: 16 random bytes. */
export const randomNodeId = () => base32(crypto.getRandomValues(new Uint8Array(16)));

/** @param {string} id */
export const isStreamId = (id) => /^[a-z2-7]{52}$/.test(id);
