import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { World, node } from "./world.js";

const ROOT = node("r");
const RELAY = node("s");

console.warn = () => {};

/** @type {World} */
let world;
beforeEach(() => {
  world = new World();
});

test("from the first word to the picture", async () => {
  assert.equal(world.upstreams.length, 1, "the offer is prepared while the tracker is called");
  await world.welcome();
  assert.deepEqual(world.take("join"), [
    { stream: "a".repeat(52), link: 1, offer: "offer", lost: null },
  ]);
  assert.deepEqual(world.take("candidate"), [], "candidates wait until the tracker has taken the join");
  await world.status("live");
  assert.deepEqual(world.take("follow_tree"), [{ follow: true }]);
  assert.deepEqual(world.take("candidate"), [
    { link: world.link, candidate: "candidate:1" },
    { link: world.link, candidate: "" },
  ]);
  await world.assign(ROOT);
  await world.hear("answer", { link: world.link, sdp: "answer" });
  await world.hear("candidate", { link: world.link, candidate: "candidate:9" });
  assert.deepEqual(world.upstream.heard, ["answer", "candidate:9"]);
  world.upstream.events.connected();
  assert.deepEqual(world.take("attached"), [{ link: world.link, generation: 3 }]);
  world.upstream.play();
  assert.deepEqual(world.states, ["connecting", "joining", "linking", "starting", "playing"]);
  const view = world.peer.view();
  assert.deepEqual([view.parent, view.depth, view.link, view.delayMs], [ROOT, 2, 1, 42]);
});

test("reports what came and what was lost since the last report", async () => {
  await world.welcome();
  await world.play(ROOT);
  world.upstream.play({ packets: 500, lost: 5 });
  await world.clock.pass(1000);
  world.upstream.play({ packets: 790, lost: 15 });
  await world.clock.pass(1000);
  const [first, second] = world.take("report");
  assert.deepEqual([first.parent, first.received, first.lost, first.delay_ms], [ROOT, 500, 5, 42]);
  assert.deepEqual([second.received, second.lost], [290, 10]);
  assert.deepEqual([second.children, second.slots, second.up_bytes_per_second], [[], 0, 0]);
  assert.equal(world.peer.view().lossPermille, 33);
});

test("a silent parent is replaced at once, and its picture stays until the next one plays", async () => {
  await world.welcome();
  await world.play(ROOT);
  const old = world.upstream;
  world.take("join");
  old.events.lost("silent");
  await world.clock.pass(0);
  assert.deepEqual(world.take("join"), [
    { stream: "a".repeat(52), link: 2, offer: "offer", lost: { parent: ROOT, reason: "silent" } },
  ]);
  assert.equal(world.peer.state, "healing");
  assert.equal(old.fate, "retired");
  await world.play(RELAY);
  assert.equal(world.peer.state, "playing");
  assert.equal(old.fate, "closed");
  assert.equal(world.peer.view().heals, 1);
  old.events.lost("closed");
  assert.equal(world.peer.state, "playing", "what the old link says is no news");
});

test("a parent that does not answer is named after four seconds, and may be tried again", async () => {
  await world.welcome();
  await world.status("live");
  await world.assign(ROOT);
  world.take("join");
  await world.clock.pass(4100);
  assert.deepEqual(world.take("join")[0].lost, { parent: ROOT, reason: "silent" });
});

test("an offer that was answered is not answered again, and nobody is to blame", async () => {
  await world.welcome();
  await world.status("live");
  await world.assign(ROOT);
  await world.hear("answer", { link: world.link, sdp: "answer" });
  world.take("join");
  await world.assign(RELAY);
  const [join] = world.take("join");
  assert.equal(join.lost, null);
  assert.equal(world.upstreams[0].fate, "closed");
});

test("a parent that cannot be reached is named after four seconds", async () => {
  await world.welcome();
  await world.status("live");
  await world.assign(ROOT);
  await world.hear("answer", { link: world.link, sdp: "answer" });
  world.take("join");
  await world.clock.pass(3900);
  assert.equal(world.take("join").length, 0);
  await world.clock.pass(200);
  assert.deepEqual(world.take("join")[0].lost, { parent: ROOT, reason: "unreachable" });
  assert.equal(world.upstreams[0].fate, "closed");
});

test("a parent that was reached but not understood is tried again", async () => {
  await world.welcome();
  await world.status("live");
  await world.assign(ROOT);
  await world.hear("answer", { link: world.link, sdp: "answer" });
  world.upstream.reached = true;
  world.take("join");
  await world.clock.pass(4100);
  assert.deepEqual(world.take("join")[0].lost, { parent: ROOT, reason: "closed" });
});

test("joins that keep failing slow down", async () => {
  await world.welcome();
  await world.status("live");
  for (let i = 0; i < 6; i += 1) {
    await world.assign(ROOT);
    world.upstream.events.lost("unreachable");
    await world.clock.pass(5000);
  }
  world.take("join");
  await world.assign(ROOT);
  world.upstream.events.lost("unreachable");
  await world.clock.pass(1500);
  assert.equal(world.take("join").length, 0);
  await world.clock.pass(3000);
  assert.equal(world.take("join").length, 1);
});

test("waits where the tracker says so, and is let in", async () => {
  await world.welcome();
  await world.status("live");
  await world.hear("waiting", { reason: "full", ahead: 3 });
  assert.equal(world.peer.state, "waiting");
  assert.equal(world.peer.view().ahead, 3);
  await world.clock.pass(60_000);
  assert.equal(world.take("join").length, 1, "one join is enough, however long it takes");
  await world.play(ROOT);
  assert.equal(world.peer.state, "playing");
});

test("a join without any reply is said again", async () => {
  await world.welcome();
  world.take("join");
  await world.clock.pass(7000);
  assert.equal(world.take("join")[0].link, 2);
});

test("an unknown stream is asked for again and again with the same offer", async () => {
  await world.welcome();
  for (let i = 0; i < 4; i += 1) {
    await world.error("unknown_stream");
    assert.equal(world.peer.state, "absent");
    await world.clock.pass(4000);
  }
  assert.deepEqual(world.take("join").map(({ link }) => link), [1, 1, 1, 1, 1]);
  assert.equal(world.upstreams.length, 1);
  assert.equal(world.upstream.begun, 1);
  assert.deepEqual(world.take("candidate"), []);
  assert.deepEqual(world.states, ["connecting", "joining", "absent"]);
  await world.play(ROOT);
  assert.equal(world.take("candidate").length, 2);
  assert.equal(world.peer.state, "playing");
});

test("a stream that is absent and comes up is joined at once", async () => {
  await world.welcome();
  await world.status("waiting");
  await world.error("ended");
  assert.equal(world.peer.state, "absent");
  assert.equal(world.peer.view().status?.state, "offline");
  world.take("join");
  await world.status("live");
  assert.equal(world.take("join").length, 1);
});

test("a codec this browser lacks ends it, until somebody tries again", async () => {
  world.lacks = "AV1";
  await world.welcome();
  await world.status("live");
  await world.assign(ROOT);
  assert.deepEqual(world.take("leave"), [null]);
  assert.deepEqual([world.peer.state, world.peer.view().detail], ["unplayable", "AV1"]);
  await world.clock.pass(120_000);
  assert.equal(world.take("join").length, 1);
  world.lacks = null;
  world.peer.retry();
  await world.clock.pass(0);
  await world.play(ROOT);
  assert.equal(world.peer.state, "playing");
});

test("without its tracker it plays on, and is adopted by its report", async () => {
  await world.welcome();
  await world.play(ROOT);
  world.peer.trackerDown();
  assert.equal(world.peer.state, "playing");
  world.sent = [];
  await world.clock.pass(3000);
  assert.deepEqual(world.sent, [], "nobody to report to");
  await world.welcome();
  assert.equal(world.take("report")[0].parent, ROOT);
  await world.status("live");
  assert.deepEqual(world.take("follow_tree"), [{ follow: true }]);
  await world.clock.pass(20_000);
  assert.deepEqual(world.take("join"), []);
});

test("a tracker that does not find its edge again gives it a new one, under the running picture", async () => {
  await world.welcome();
  await world.play(ROOT);
  const old = world.upstream;
  world.peer.trackerDown();
  await world.welcome();
  await world.error("unexpected");
  world.take("join");
  await world.clock.pass(4500);
  assert.deepEqual(world.take("join"), [], "both ends' reports may still cross");
  await world.clock.pass(2000);
  assert.deepEqual(world.take("join").map(({ lost }) => lost), [null]);
  assert.equal(old.fate, "open", "the old parent serves until the new one does");
  await world.play(RELAY);
  assert.equal(old.fate, "closed");
});

test("a parent lost while the tracker is away is named when it is back", async () => {
  await world.welcome();
  await world.play(ROOT);
  world.take("join");
  world.peer.trackerDown();
  world.upstream.events.lost("closed");
  await world.clock.pass(5000);
  assert.equal(world.peer.state, "healing");
  assert.deepEqual(world.take("join"), []);
  await world.welcome();
  assert.deepEqual(world.take("join").map(({ lost }) => lost), [{ parent: ROOT, reason: "closed" }]);
});

test("answers and candidates of other links change nothing", async () => {
  await world.welcome();
  await world.status("live");
  await world.hear("answer", { link: { child: world.peer.node, link: 9 }, sdp: "stray" });
  await world.hear("answer", { link: world.link, sdp: "before the parent is known" });
  await world.assign(ROOT);
  await world.hear("answer", { link: { child: ROOT, link: 1 }, sdp: "stray" });
  assert.deepEqual(world.upstream.heard, []);
});

test("a refused parent is replaced under the same offer", async () => {
  await world.welcome();
  await world.status("live");
  await world.assign(ROOT);
  await world.clock.pass(3000);
  await world.assign(RELAY);
  await world.clock.pass(3000);
  assert.equal(world.take("join").length, 1, "the second parent has its own four seconds");
  await world.hear("answer", { link: world.link, sdp: "answer" });
  world.upstream.events.connected();
  assert.equal(world.peer.view().parent, RELAY);
});

test("a busy name is given up where nothing hangs on it, and kept where the picture does", async () => {
  await world.error("node_busy");
  assert.equal(world.redials, 1);
  assert.equal(world.peer.node, node("c"));
  await world.welcome();
  await world.play(ROOT);
  world.peer.trackerDown();
  await world.error("node_busy");
  assert.equal(world.redials, 1);
  assert.equal(world.peer.state, "playing");
});

test("sound alone plays where the stream has nothing else", async () => {
  await world.welcome();
  const body = JSON.stringify({ epoch: 1, tracks: [{ codec: "opus", fmtp: "" }] });
  await world.hear("stream", {
    stream: "a".repeat(52),
    title: "",
    state: "live",
    viewers: 0,
    waiting: 0,
    info: { body, signature: "" },
  });
  await world.assign(ROOT);
  await world.hear("answer", { link: world.link, sdp: "answer" });
  world.upstream.events.connected();
  const sound = { framesDecoded: 0, width: 0, audioSamples: 4800 };
  world.upstream.play(sound);
  await world.clock.pass(2500);
  world.upstream.play(sound);
  assert.equal(world.peer.state, "playing");
});

test("leaving says so and closes everything", async () => {
  await world.welcome();
  await world.play(ROOT);
  world.peer.stop();
  assert.deepEqual(world.take("leave"), [null]);
  assert.equal(world.upstream.fate, "closed");
});

test("other tracks are agreed on over the link that stands", async () => {
  await world.welcome();
  await world.play(ROOT);
  world.upstream.play({ packets: 500, lost: 5 });
  await world.clock.pass(1000);
  const states = world.states.length;
  const body = JSON.stringify({ epoch: 7, tracks: [{ codec: "vp8", fmtp: "" }] });
  world.upstream.events.info({ body, signature: "" });
  await world.clock.pass(0);
  assert.equal(world.upstream.heard.at(-1), "renew 7");
  world.take("report");
  // A new source counts from zero.
  world.upstream.play({ packets: 30, lost: 1 });
  await world.clock.pass(1000);
  const [report] = world.take("report");
  assert.deepEqual([report.received, report.lost], [30, 1]);
  assert.equal(world.states.length, states, "the picture stays");
  const parents = world.upstreams.filter(({ standby }) => !standby);
  assert.deepEqual([parents.length, world.peer.view().heals], [1, 0]);
});

test("other tracks that cannot be played end the session with their codec", async () => {
  await world.welcome();
  await world.play(ROOT);
  world.lacks = "AV1";
  world.upstream.events.info({ body: "{}", signature: "" });
  assert.equal(world.peer.state, "unplayable");
  assert.equal(world.peer.view().detail, "AV1");
  assert.ok(!world.upstream.heard.some((word) => word.startsWith("renew")));
});
