/** The watch page: the stage, the facts about it, and the living tree. */
import { need, write } from "./dom.js";
import { duration, loss, plural, rate, shortId } from "./format.js";
import { openStage } from "./stage-page.js";
import { TreeView } from "./tree-view.js";
import { measure } from "./tree-words.js";

/** @typedef {import("./peer-contract.js").PeerView} PeerView */

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

const stage = openStage({
  render,
  tree(update) {
    tree.update(update);
    write(facts.summary, measure(tree.model));
  },
});

if (!stage) write(facts.title, "No stream here");

/** @param {PeerView} view */
function render(view) {
  const { status } = view;
  const title = status?.title || (view.state === "absent" ? "No stream here" : "Live stream");
  write(facts.title, title);
  document.title = `${title} · Banyan`;
  write(facts.audience, audience(view));
  const { sample } = view;
  fact(facts.delay, view.delayMs === null ? "–" : duration(view.delayMs), "from root to screen");
  const [hops, under] = place(view);
  fact(facts.place, hops, under);
  fact(facts.loss, sample ? loss(view.lossPermille) : "–", "in the last second");
  const seen = sample !== null && sample.height > 0;
  fact(facts.picture, seen ? `${sample.width} × ${sample.height}` : "–", seen ? rate(sample.bitsPerSecond) : "");
  const flows = view.state === "playing" && !view.stalled;
  tree.tell(view.node, flows, sample?.bitsPerSecond ?? 0);
  if (view.state === "absent" && !status && tree.model.total > 0) tree.clear();
}

/** @param {PeerView} view */
function audience({ status, state, trackerUp }) {
  if (!status) return "";
  if (!trackerUp && state === "playing") return "The tracker is away; the stream goes on without it.";
  const watching = `${plural(status.viewers, "viewer")}`;
  return status.waiting > 0 ? `${watching}, ${status.waiting.toLocaleString("en")} waiting` : watching;
}

/** @param {PeerView} view @returns {[string, string]} */
function place({ depth, parent }) {
  if (depth === null || parent === null) return ["–", "in the tree"];
  return [plural(depth, "hop"), depth <= 1 ? "right under the root" : `from the root, under ${shortId(parent)}`];
}

/** @param {HTMLElement} node @param {string} value @param {string} caption */
function fact(node, value, caption) {
  write(node.children[0], value);
  write(node.children[1], caption);
}
