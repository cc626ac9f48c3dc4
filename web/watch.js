/** The watch page: the stage, the facts about it, and the living tree. */
import { need, write } from "./dom.js";
import { duration, loss, plural, rate, shortId } from "./format.js";
import { openStage } from "./stage-page.js";
import { TreeView } from "./tree-view.js";

/** @typedef {import("./peer.js").PeerView} PeerView */

const facts = {
  title: need("title", HTMLElement),
  audience: need("audience", HTMLElement),
  delay: need("fact-delay", HTMLElement),
  place: need("fact-place", HTMLElement),
  loss: need("fact-loss", HTMLElement),
  picture: need("fact-picture", HTMLElement),
  summary: need("tree-summary", HTMLElement),
};
const tree = new TreeView(need("tree", HTMLElement), need("tree-list", HTMLElement));

openStage({
  render,
  tree(update) {
    tree.update(update);
    const hops = Math.max(update.per_depth.length - 1, 0);
    const hidden = update.hidden > 0 ? `, ${plural(update.hidden, "more")} not shown` : "";
    const { total } = tree.model;
    write(facts.summary, total > 0 ? `${plural(total, "peer")}, ${plural(hops, "hop")} deep${hidden}` : "");
  },
});

/** @param {PeerView} view */
function render(view) {
  const { status } = view;
  const title = status?.title || "Live stream";
  write(facts.title, title);
  document.title = `${title} · Banyan`;
  write(facts.audience, audience(view));
  write(facts.delay, view.delayMs === null ? "–" : duration(view.delayMs));
  write(facts.place, place(view));
  write(facts.loss, view.sample ? loss(view.lossPermille) : "–");
  const { sample } = view;
  write(
    facts.picture,
    sample && sample.height > 0 ? `${sample.width}×${sample.height}, ${rate(sample.bitsPerSecond)}` : "–",
  );
  const flows = view.state === "playing" && !view.stalled;
  tree.tell(view.node, flows, sample?.bitsPerSecond ?? 0);
  if (view.state === "absent" && !status && tree.model.total > 0) tree.clear();
}

/** @param {PeerView} view */
function audience({ status }) {
  if (!status) return "";
  const watching = `${plural(status.viewers, "viewer")}`;
  return status.waiting > 0 ? `${watching}, ${status.waiting.toLocaleString("en")} waiting` : watching;
}

/** @param {PeerView} view */
function place({ depth, parent }) {
  if (depth === null || parent === null) return "–";
  if (depth <= 1) return "right under the root";
  return `${plural(depth, "hop")} deep, under ${shortId(parent)}`;
}
