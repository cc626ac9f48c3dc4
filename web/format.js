/** Numbers and states in words for people. */

/** @typedef {import("./peer-contract.js").PeerView} PeerView */

/** The short form of a node's name. @param {string} id */
export const shortId = (id) => id.slice(0, 4);

/** @param {number} n @param {string} one @param {string} [many] */
export const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

/** @param {number} ms */
export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}

/** @param {number} seconds */
export function age(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return plural(Math.round(seconds / 86_400), "day");
}

/** @param {number} permille */
export function loss(permille) {
  if (permille === 0) return "none";
  return `${(permille / 10).toFixed(permille < 100 ? 1 : 0)} %`;
}

/** @param {number} bits per second */
export function rate(bits) {
  if (bits < 1_000_000) return `${Math.round(bits / 1000)} kbit/s`;
  return `${(bits / 1_000_000).toFixed(1)} Mbit/s`;
}

/**
 * What a page says about the state of things.
 * @typedef {object} Words
 * @property {"good" | "busy" | "calm" | "bad"} tone
 * @property {string} label two words at most
 * @property {string} title what is going on
 * @property {string} text what happens next, or what to do
 * @property {boolean} covers whether there is no picture to see behind it
 * @property {string | null} action what a button offers
 */

/**
 * @param {Words["tone"]} tone @param {string} label @param {string} title @param {string} text
 * @param {Partial<Words>} [more]
 * @returns {Words}
 */
const say = (tone, label, title, text, more) => ({
  tone,
  label,
  title,
  text,
  covers: true,
  action: null,
  ...more,
});

const AGAIN = "This page asks again by itself.";

/** @param {PeerView} view @returns {Words} */
export function words(view) {
  const offline = view.status?.state === "offline";
  switch (view.state) {
    case "connecting":
      return say("busy", "Connecting", "Calling the tracker", "It knows who can pass the stream on to you.");
    case "joining":
      return say("busy", "Joining", "Looking for a branch", "The tracker picks who will feed you.");
    case "waiting":
      return waiting(view, offline);
    case "linking":
      return say("busy", "Joining", "Growing a branch", "Connecting to the peer that will feed you.");
    case "starting":
      return starting(view, offline);
    case "playing":
      return playing(view, offline);
    case "healing":
      if (offline) return ended({ covers: false });
      if (isAway(view)) return away({ covers: false });
      return say("busy", "Reconnecting", "Finding a new branch", "The picture continues in a moment.", {
        covers: false,
      });
    case "absent":
      if (view.detail === "ended" || view.status) return ended({});
      return say(
        "calm",
        "Unknown",
        "No such stream is known here (yet)",
        `The broadcast may not have begun, or the link is mistyped. ${AGAIN}`,
      );
    case "unplayable":
      return say(
        "bad",
        "Cannot play",
        `This browser cannot play ${view.detail}`,
        "Another browser, or a newer version of this one, may.",
        { action: "Try again" },
      );
    case "refused":
      return refused(view.detail);
  }
}

/** @param {PeerView} view @param {boolean} offline */
function waiting(view, offline) {
  if (offline) return ended({});
  if (isAway(view)) return away({});
  if (view.detail === "full") {
    const ahead = view.ahead > 0 ? `${plural(view.ahead, "viewer")} ahead of you. ` : "You are next. ";
    return say("calm", "Waiting", "Every place in the tree is taken", `${ahead}You are let in by itself.`);
  }
  if (view.detail === "no_route") {
    return say(
      "bad",
      "Waiting",
      "No peer can be reached from your network",
      `A firewall may block direct connections. ${AGAIN}`,
    );
  }
  return say("calm", "Waiting", "The broadcast has not begun", "It starts here by itself. Keep this page open.");
}

/** @param {PeerView} view @param {boolean} offline */
function starting(view, offline) {
  if (offline) return ended({});
  if (isAway(view)) return away({});
  if (view.soundOnly) return narrow({});
  if (view.undecoded) {
    return say(
      "bad",
      "No picture",
      "The stream arrives but makes no picture",
      "This browser may not decode it. Another browser may.",
    );
  }
  if (view.status?.state === "waiting" || view.sourceIdle) {
    return say("calm", "Waiting", "The broadcast has not begun", "It starts here by itself. Keep this page open.");
  }
  return say("busy", "Starting", "Almost there", "Connected; the first picture is on its way.");
}

/** @param {PeerView} view @param {boolean} offline */
function playing(view, offline) {
  if (view.stalled && offline) return ended({ covers: false });
  if (view.stalled && isAway(view)) return away({ covers: false });
  if (view.stalled && view.upstreamHealing) {
    return say("busy", "Healing", "A branch above you is healing", "The picture continues in a moment.", {
      covers: false,
    });
  }
  if (view.stalled && view.sourceIdle) {
    return say("calm", "Paused", "The broadcaster has paused", "It goes on here by itself.", { covers: false });
  }
  if (view.stalled) {
    return say("busy", "Stalled", "No picture is coming at the moment", "It goes on here by itself.", {
      covers: false,
    });
  }
  if (view.soundOnly) return narrow({ covers: false });
  const text = view.trackerUp ? "" : "The tracker is away; the stream goes on without it.";
  return say("good", "Live", "Live", text, { covers: false });
}

/** @param {Partial<Words>} more */
const ended = (more) => say("calm", "Offline", "The broadcast is over", "A later one begins here by itself.", more);

/** @param {Partial<Words>} more */
const narrow = (more) =>
  say(
    "calm",
    "Sound only",
    "Your connection does not carry the picture",
    "The sound goes on, and the picture is tried again by itself.",
    more,
  );

/** @param {PeerView} view */
const isAway = (view) => view.status?.state === "away";

/** @param {Partial<Words>} more */
const away = (more) =>
  say("calm", "Away", "The broadcaster is away", "It goes on here by itself when it returns.", more);

/** @param {string | null} code */
function refused(code) {
  switch (code) {
    case "codec":
      return say(
        "bad",
        "Cannot play",
        "This browser cannot play the stream",
        "It lacks the stream's format. Another browser may play it.",
        { action: "Try again" },
      );
    case "version":
      return say("bad", "Outdated", "This page and the tracker do not fit together", "Reload the page.", {
        action: "Try again",
      });
    case "overloaded":
      return say("bad", "Busy", "The tracker takes no more viewers at the moment", AGAIN);
    case "stream_busy":
      return say("bad", "Busy", "Another broadcaster uses this stream", AGAIN);
    case "flood":
      return say("bad", "Slow down", "The tracker heard too much from here", AGAIN);
    case "offer":
      return say("bad", "Not connected", "This browser's offer was refused", AGAIN);
    default:
      return say("bad", "Not connected", "The tracker did not let us in", AGAIN);
  }
}
