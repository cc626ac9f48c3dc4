import assert from "node:assert/strict";
import { test } from "node:test";
import { unplayable } from "../codecs.js";
import { age, duration, loss, plural, rate, words } from "../format.js";
import { askStereo } from "../upstream.js";
import { World } from "./world.js";

test("numbers for people", () => {
  assert.deepEqual([0, 999, 1500, 12_000].map(duration), ["0 ms", "999 ms", "1.5 s", "12 s"]);
  assert.deepEqual([5, 90, 4000, 200_000].map(age), ["5 s", "2 min", "1 h 7 min", "2 days"]);
  assert.deepEqual([0, 5, 250].map(loss), ["none", "0.5 %", "25 %"]);
  assert.deepEqual([800_000, 2_500_000].map(rate), ["800 kbit/s", "2.5 Mbit/s"]);
  assert.deepEqual([plural(1, "hop"), plural(0, "hop"), plural(1234, "viewer")], ["1 hop", "0 hops", "1,234 viewers"]);
});

test("every state has its words", () => {
  const view = new World().peer.view();
  /** @type {import("../peer.js").PeerState[]} */
  const states = [
    "connecting",
    "joining",
    "waiting",
    "linking",
    "starting",
    "playing",
    "healing",
    "absent",
    "unplayable",
    "refused",
  ];
  const titles = new Set();
  for (const state of states) {
    const say = words({ ...view, state, detail: state === "unplayable" ? "AV1" : null });
    assert.ok(say.title.length > 3 && say.label.length > 2, state);
    titles.add(say.title);
  }
  assert.equal(titles.size, states.length);
  assert.match(words({ ...view, state: "unplayable", detail: "AV1" }).title, /AV1/);
  assert.match(words({ ...view, state: "absent", detail: "unknown_stream" }).title, /No such stream/);
  assert.match(words({ ...view, state: "absent", detail: "ended" }).title, /is over/);
  const status = /** @type {NonNullable<typeof view.status>} */ (view.status);
  const away = { ...status, state: /** @type {const} */ ("away") };
  assert.match(words({ ...view, state: "healing", status: away }).title, /broadcaster is away/);
  assert.equal(words({ ...view, state: "healing", status: away }).covers, false);
  assert.match(words({ ...view, state: "playing", stalled: true, status: away }).title, /broadcaster is away/);
  assert.match(words({ ...view, state: "playing", status: away }).title, /Live/);
  assert.match(words({ ...view, state: "playing", soundOnly: true }).title, /does not carry the picture/);
  assert.match(words({ ...view, state: "waiting", detail: "no_media", status: away }).title, /is away/);
  assert.match(words({ ...view, state: "waiting", detail: "full", ahead: 2 }).text, /2 viewers ahead/);
});

test("a codec is playable where the browser lists it", () => {
  const known = [
    { mimeType: "video/VP8" },
    { mimeType: "video/H264", sdpFmtpLine: "packetization-mode=1;profile-level-id=42e01f" },
    { mimeType: "audio/opus" },
  ];
  /** @param {string} codec @param {string} fmtp */
  const of = (codec, fmtp = "") => unplayable([{ codec: "opus", fmtp: "" }, { codec, fmtp }], known);
  assert.equal(of("vp8"), null);
  assert.equal(of("av1"), "AV1");
  assert.equal(of("h264", "profile-level-id=640028;packetization-mode=1"), null);
  assert.match(of("h264", "profile-level-id=f4001f") ?? "", /H\.264/);
  assert.equal(unplayable([{ codec: "h264", fmtp: "" }], []), "H.264");
});

test("the offer asks for stereo sound, once", () => {
  const sdp = "m=audio 9 X 111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtcp-mux\r\n";
  const asked = askStereo(sdp);
  assert.match(asked, /a=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r\n/);
  assert.equal(askStereo(asked), asked);
  assert.equal(askStereo("v=0\r\n"), "v=0\r\n");
});
