import assert from "node:assert/strict";
import { test } from "node:test";
import { along, branchCurve, curveLength, layout, namedLeft } from "../tree-layout.js";
import { TreeModel } from "../tree-model.js";
import { describe } from "../tree-words.js";

/** @typedef {import("../wire.js").TreePeer} TreePeer */

/** @param {string} id @param {string | null} parent @param {number} depth @returns {TreePeer} */
const peer = (id, parent, depth) => ({
  id,
  parent,
  standby: null,
  depth,
  class: "native",
  slots: 2,
  used: 0,
  age: 0,
  delay_ms: 0,
  loss_permille: 0,
  reach: "cone",
});

/** @param {TreePeer[]} upsert @param {Partial<import("../wire.js").TreeUpdate>} [more] */
const update = (upsert, more) => ({ reset: false, upsert, remove: [], per_depth: [], hidden: 0, ...more });

/** A tree in which everybody feeds `fan` others. @param {number} count @param {number} fan */
function grown(count, fan) {
  const model = new TreeModel();
  const peers = Array.from({ length: count }, (_, i) => {
    const parent = i === 0 ? null : `n${Math.floor((i - 1) / fan)}`;
    let depth = 0;
    for (let at = i; at > 0; at = Math.floor((at - 1) / fan)) depth += 1;
    return peer(`n${i}`, parent, depth);
  });
  model.apply(update(peers), 0);
  return model;
}

test("updates add, change, remove and reset", () => {
  const model = new TreeModel();
  model.apply(update([peer("r", null, 0), peer("a", "r", 1), peer("b", "a", 2)], { hidden: 5 }), 0);
  assert.equal(model.total, 8);
  model.apply(update([peer("b", "r", 1)], { remove: ["a"] }), 0);
  const [root] = model.branches();
  assert.deepEqual(root.children.map((branch) => branch.peer.id), ["b"]);
  assert.equal(root.size, 2);
  model.apply(update([peer("x", null, 0)], { reset: true }), 0);
  assert.deepEqual([...model.peers.keys()], ["x"]);
});

test("ages grow by themselves", () => {
  const model = new TreeModel();
  model.apply(update([{ ...peer("a", null, 0), age: 10 }]), 5000);
  assert.equal(model.age("a", 8000), 13);
  assert.equal(model.age("gone", 8000), 0);
});

test("siblings keep their order whatever order they come in", () => {
  const model = new TreeModel();
  model.apply(update([peer("c", "r", 1), peer("r", null, 0), peer("a", "r", 1)]), 0);
  const names = () => model.branches()[0].children.map((branch) => branch.peer.id);
  assert.deepEqual(names(), ["a", "c"]);
  model.apply(update([peer("b", "r", 1)]), 0);
  assert.deepEqual(names(), ["a", "b", "c"]);
});

test("peers without a known parent and circles are drawn all the same", () => {
  const model = new TreeModel();
  model.apply(update([peer("a", "gone", 3), peer("b", "a", 4), peer("x", "y", 1), peer("y", "x", 1), peer("z", "z", 1)]), 0);
  const seen = new Set();
  /** @param {import("../tree-model.js").Branch} branch */
  const walk = (branch) => {
    assert.ok(!seen.has(branch.peer.id), "nobody twice");
    seen.add(branch.peer.id);
    branch.children.forEach(walk);
  };
  model.branches().forEach(walk);
  assert.equal(seen.size, 5);
});

for (const [count, fan] of [[1, 2], [2, 1], [3, 2], [7, 2], [30, 2], [30, 3], [64, 2], [64, 4], [64, 63], [12, 1]]) {
  for (const [width, height] of [[310, 330], [460, 540]]) {
    test(`${count} peers, ${fan} under each, in ${width} by ${height}: inside, apart, upward`, () => {
      const { spots, radius } = layout(grown(count, fan).branches(), width, height, count <= 14);
      assert.equal(spots.size, count);
      const all = [...spots.values()];
      for (const { x, y } of all) {
        assert.ok(x >= radius && x <= width - radius, `x ${x}`);
        assert.ok(y >= radius && y <= height - radius, `y ${y}`);
      }
      let touching = 0;
      all.forEach((a, i) => {
        for (const b of all.slice(i + 1)) {
          if (Math.hypot(a.x - b.x, a.y - b.y) < radius * 1.6) touching += 1;
        }
      });
      assert.ok(touching <= count / 16, `${touching} pairs touch at radius ${radius}`);
      const root = spots.get("n0");
      assert.ok(root && all.every(({ y }) => y <= root.y + 1), "nobody grows below the root");
      assert.ok(radius >= 3.5 && radius <= 11);
    });
  }
}

test("several branches without their root, and no peers at all", () => {
  const model = new TreeModel();
  assert.equal(layout(model.branches(), 400, 400, true).spots.size, 0);
  model.apply(update([peer("a", "gone", 2), peer("b", "gone", 2), peer("c", "a", 3)]), 0);
  const { spots } = layout(model.branches(), 400, 400, true);
  const [a, b] = [spots.get("a"), spots.get("b")];
  assert.ok(a && b && Math.abs(a.x - b.x) > 20);
});

test("a branch begins and ends at its peers", () => {
  const curve = branchCurve({ x: 10, y: 100, angle: 0 }, { x: 60, y: 20, angle: 0.5 });
  assert.deepEqual(along(curve, 0), { x: 10, y: 100 });
  assert.deepEqual(along(curve, 1), { x: 60, y: 20 });
  const length = curveLength(curve);
  assert.ok(length > Math.hypot(50, 80) && length < 130);
});

test("a player tells nothing of itself", () => {
  const model = new TreeModel();
  const player = { ...peer("p", "r", 1), class: /** @type {const} */ ("player"), slots: 0 };
  model.apply(update([peer("r", null, 0), player]), 0);
  const lines = describe(model, player, "r");
  assert.match(lines[0] ?? "", /player$/);
  assert.ok(!lines.some((line) => line.startsWith("delay")), lines.join());
});

test("names stand away from the trunk unless a mark is in the way", () => {
  /** @param {string} id @param {number} x @param {number} y */
  const spot = (id, x, y) => /** @type {import("../tree-layout.js").Spot} */ ({ id, x, y });
  const [a, b, c] = [spot("a", 100, 50), spot("b", 60, 55), spot("c", 300, 50)];
  assert.equal(namedLeft(a, [a], 10, 200), true);
  assert.equal(namedLeft(c, [a, c], 10, 200), false);
  assert.equal(namedLeft(a, [a, b], 10, 200), false, "b is in the way");
  assert.equal(namedLeft(a, [a, b, spot("d", 140, 50)], 10, 200), true, "no side is free");
});
