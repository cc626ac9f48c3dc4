/** What a page shows of its peer. */

/** @typedef {import("./attempt.js").Attempt} Attempt */
/** @typedef {import("./peer.js").Peer} Peer */
/** @typedef {import("./peer-contract.js").PeerView} PeerView */

/** Picture data that arrives this long (ms) and never becomes a picture is worth a word. */
const DECODE_PATIENCE = 10_000;
/** Without media for this long (ms) the page says that it waits. */
const STALL = 1500;

/** @param {Peer} peer @returns {PeerView} */
export function viewOf(peer) {
  const { state, trackerUp, detail, final, ahead, status, node, heals, lossPermille } = peer;
  const fed = peer.feeding;
  return {
    state,
    trackerUp,
    detail,
    final,
    ahead,
    status,
    node,
    parent: fed?.parent ?? null,
    standby: peer.standby.ready?.parent ?? null,
    depth: fed?.depth ?? null,
    link: fed?.link ?? null,
    delayMs: fed?.upstream.flows ? fed.upstream.delayMs : null,
    rttMs: fed?.upstream.rtt ?? null,
    sourceIdle: fed?.upstream.remote.source_idle ?? false,
    soundOnly: fed?.upstream.soundOnly ?? false,
    upstreamHealing: fed?.upstream.remote.healing ?? false,
    stalled: (fed?.upstream.stillMs ?? 0) > STALL,
    undecoded: fed !== null && undecoded(fed, peer.world.clock.now()),
    heals,
    lossPermille,
    sample: fed?.sample ?? null,
  };
}

/** @param {Attempt} link @param {number} now ms */
function undecoded(link, now) {
  return link.flowAt > 0 && !link.shown && now - link.flowAt > DECODE_PATIENCE;
}
