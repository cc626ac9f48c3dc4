import assert from "node:assert/strict";
import { test } from "node:test";
import { Meter } from "../statistics.js";

/** @param {object} video @param {object} audio @returns {any} */
const report = (video, audio) =>
  new Map([
    ["v", { type: "inbound-rtp", kind: "video", ...video }],
    ["a", { type: "inbound-rtp", kind: "audio", ...audio }],
    ["p", { type: "candidate-pair", bytesReceived: 1e9 }],
  ]);

test("tracks add up; rates and the buffer are those since the last look", () => {
  const meter = new Meter();
  const first = meter.read(
    report(
      { packetsReceived: 100, packetsLost: 3, bytesReceived: 80_000, jitterBufferDelay: 1, jitterBufferEmittedCount: 50 },
      { packetsReceived: 50, packetsLost: -1, bytesReceived: 20_000, jitterBufferDelay: 900, jitterBufferEmittedCount: 9 },
    ),
    1000,
  );
  assert.deepEqual([first.packets, first.lost, first.bytes, first.bitsPerSecond], [150, 3, 100_000, 0]);
  assert.equal(first.bufferMs, 20);
  const second = meter.read(
    report(
      { packetsReceived: 200, bytesReceived: 160_000, jitterBufferDelay: 2.5, jitterBufferEmittedCount: 100 },
      { packetsReceived: 100, bytesReceived: 40_000 },
    ),
    2000,
  );
  assert.deepEqual([second.packets, second.bitsPerSecond, second.bufferMs], [300, 800_000, 30]);
  const idle = meter.read(report({ jitterBufferDelay: 2.5, jitterBufferEmittedCount: 100 }, {}), 3000);
  assert.equal(idle.bufferMs, 30, "a picture that stands still says nothing new");
});

test("no statistics yet", () => {
  const empty = /** @type {any} */ (new Map());
  assert.deepEqual([new Meter().read(empty, 1).packets, new Meter().read(empty, 1).bufferMs], [0, 0]);
});
