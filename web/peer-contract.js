/** What a page's peer tells and what it is told, in types alone. */

/** @typedef {import("./wire.js").ClientMessage} ClientMessage */
/** @typedef {import("./wire.js").StreamStatus} StreamStatus */
/** @typedef {import("./wire.js").SignedStreamInfo} SignedStreamInfo */
/** @typedef {import("./wire.js").TreeUpdate} TreeUpdate */
/** @typedef {import("./upstream.js").UpstreamEvents} UpstreamEvents */
/** @typedef {import("./attempt.js").UpstreamLike} UpstreamLike */
/** @typedef {import("./statistics.js").Sample} Sample */

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
 * @property {string | null} standby the node that takes over when the parent fails
 * @property {number | null} depth
 * @property {number | null} link
 * @property {number | null} delayMs
 * @property {number | null} rttMs
 * @property {boolean} sourceIdle the broadcaster has paused
 * @property {boolean} soundOnly this connection does not carry the picture
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
 * @property {(node: string, events: UpstreamEvents, how: { standby: boolean, path: () => string[] }) => UpstreamLike} upstream
 * @property {() => string} newNode
 * @property {(info: SignedStreamInfo) => string | null} unplayable the codec this browser lacks
 * @property {(stream: MediaStream, link: number) => void} media show this; say `shown(link)` when its first picture later than the one on screen is up
 * @property {(link: number) => void} dismiss do not show this any more
 * @property {(update: TreeUpdate) => void} tree
 * @property {() => void} changed the view has changed
 */

export {};
