/** What the watch page and the embedded player share: address, session, stage and test hook. */
import { need } from "./dom.js";
import { startSession } from "./session.js";
import { Stage } from "./stage.js";
import { isStreamId } from "./wire.js";

/** @typedef {import("./peer-contract.js").PeerView} PeerView */

/**
 * @param {{ render: (view: PeerView) => void, tree?: (update: import("./wire.js").TreeUpdate) => void }} page
 * @returns {Stage | null}
 */
export function openStage(page) {
  const { dataset } = document.documentElement;
  const stream = location.pathname.split("/")[2] ?? "";
  /** @type {Stage} */
  const stage = new Stage(need("stage", HTMLElement), {
    shown: (link) => session?.peer.shown(link),
    again: () => session?.peer.retry(),
  });
  /** @type {ReturnType<typeof startSession> | null} */
  let session = null;
  if (!isStreamId(stream)) {
    dataset.state = "invalid";
    stage.tell("This is no watch link", "It should end in the stream's name, 52 letters and digits.");
    return null;
  }
  if (typeof RTCPeerConnection === "undefined") {
    dataset.state = "unsupported";
    stage.tell("This browser cannot take part", "It has no WebRTC, or an extension switched it off.");
    return null;
  }

  let queued = false;
  const render = () => {
    queued = false;
    if (!session) return;
    const view = session.peer.view();
    dataset.state = view.state;
    dataset.stream = view.status?.state ?? "unknown";
    dataset.parent = view.parent ?? "";
    stage.render(view);
    page.render(view);
  };
  session = startSession({
    stream,
    player: stage.player,
    tree: page.tree,
    changed() {
      if (queued) return;
      queued = true;
      queueMicrotask(render);
    },
  });
  expose(session, stage);
  return stage;
}

/**
 * What tests and the curious may read, under `window.banyan`.
 * @param {ReturnType<typeof startSession>} session @param {Stage} stage
 */
function expose(session, stage) {
  const hook = Object.freeze({
    stats() {
      const { sample, status, ...view } = session.peer.view();
      return {
        ...view,
        stream_state: status?.state ?? null,
        title: status?.title ?? null,
        viewers: status?.viewers ?? null,
        packets: sample?.packets ?? 0,
        packetsLost: sample?.lost ?? 0,
        framesDecoded: sample?.framesDecoded ?? 0,
        framesDropped: sample?.framesDropped ?? 0,
        freezes: sample?.freezes ?? 0,
        width: sample?.width ?? 0,
        height: sample?.height ?? 0,
        audioLevel: sample?.audioLevel ?? 0,
        audioSamples: sample?.audioSamples ?? 0,
        bufferMs: sample?.bufferMs ?? null,
        bitsPerSecond: sample?.bitsPerSecond ?? 0,
        muted: stage.player.front.muted,
      };
    },
    /** The video element on screen. */
    video: () => stage.player.front,
    /** Raw WebRTC statistics of the newest connection. */
    report: () => session.report(),
  });
  Object.defineProperty(window, "banyan", { value: hook });
}
