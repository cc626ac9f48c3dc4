/** The living tree: draws the model as a growing banyan. */
import { html, set, svg, write } from "./dom.js";
import { shortId } from "./format.js";
import { arm, invite, kill } from "./tree-demo.js";
import { TreeFlow } from "./tree-flow.js";
import { disc, fall, glide, leafShape, makeMark } from "./tree-mark.js";
import { branchCurve, curveLength, layout, namedLeft, pathOf } from "./tree-layout.js";
import { TreeModel } from "./tree-model.js";
import { describe, outline, summary } from "./tree-words.js";

/** @typedef {import("./tree-layout.js").Spot} Spot */
/** @typedef {import("./tree-mark.js").Mark} Mark */

/** Trees up to this many peers show everybody's name. */
const NAMED = 14;
export class TreeView {
  /**
   * @param {HTMLElement} root holds the picture
   * @param {HTMLElement} outline holds the nested list
   */
  constructor(root, outline) {
    this.root = root;
    this.outline = outline;
    this.model = new TreeModel();
    this.self = "";
    this.radius = 10;
    /** @type {Map<string, Mark>} */
    this.marks = new Map();
    /** @type {Set<Mark>} */
    this.falling = new Set();
    /** @type {string | null} */
    this.pointed = null;
    this.frame = 0;
    this.before = 0;
    this.listTimer = 0;
    this.still = matchMedia("(prefers-reduced-motion: reduce)");

    this.crowns = svg("g", { class: "crowns" });
    this.woods = svg("g", { class: "woods" });
    this.aerials = svg("g", { class: "aerials" });
    this.strands = svg("g", { class: "strands" });
    this.trunk = svg("path", { class: "trunk" });
    this.nodes = svg("g", { class: "nodes" });
    this.soil = svg("path", { class: "soil" });
    this.picture = svg(
      "svg",
      { class: "tree-picture", role: "group", "aria-roledescription": "picture of the tree", tabindex: 0 },
      svg(
        "defs",
        {},
        svg(
          "radialGradient",
          { id: "crown-fill" },
          svg("stop", { offset: "0.1", class: "crown-inner" }),
          svg("stop", { offset: "1", class: "crown-outer" }),
        ),
      ),
      this.crowns,
      this.strands,
      this.soil,
      this.trunk,
      this.woods,
      this.aerials,
      this.nodes,
    );
    this.tip = html("div", { class: "tip", role: "status", hidden: true });
    this.bare = html("p", { class: "tree-bare muted" }, "It grows here as soon as somebody broadcasts.");
    root.append(this.picture, this.bare);
    this.flow = new TreeFlow(root);
    root.append(this.tip);
    invite(root);
    this.ground = { x: 0, y: 0 };

    this.picture.addEventListener("pointerover", (event) => this.#point(markId(event.target)));
    this.picture.addEventListener("pointerleave", () => this.#point(null));
    this.picture.addEventListener("click", (event) => {
      const id = markId(event.target);
      this.#point(id);
      if (id !== null) kill(this.marks.get(id));
    });
    this.picture.addEventListener("focusin", (event) => {
      const id = markId(event.target);
      if (id !== null) this.#point(id);
    });
    this.picture.addEventListener("keydown", (event) => this.#walk(event));
    this.picture.addEventListener("blur", () => this.#point(null));
    new ResizeObserver(() => this.#arrange()).observe(root);
  }

  /** @param {import("./wire.js").TreeUpdate} update */
  update(update) {
    this.model.apply(update, performance.now());
    this.#arrange();
    this.#listSoon();
  }

  /** Forgets all, as when the stream is gone. */
  clear() {
    this.update({ reset: true, upsert: [], remove: [], per_depth: [], hidden: 0 });
  }

  /**
   * Who we are, and how the media flows.
   * @param {string} self @param {boolean} live @param {number} bits per second
   */
  tell(self, live, bits) {
    this.root.dataset.flowing = String(live);
    this.flow.tell(live, bits);
    if (self === this.self) return;
    this.self = self;
    this.#arrange();
    this.#listSoon();
  }

  #arrange() {
    const { width, height } = this.root.getBoundingClientRect();
    if (width < 10 || height < 10) return;
    set(this.picture, { viewBox: `0 0 ${Math.round(width)} ${Math.round(height)}` });
    const named = this.model.peers.size <= NAMED;
    const plan = layout(this.model.branches(), width, height, named);
    this.radius = plan.radius;
    this.ground = plan.ground;
    this.#plant(width);
    this.flow.resize(width, height);
    const path = this.#pathToSelf();
    for (const spot of plan.spots.values()) {
      const mark = this.marks.get(spot.id) ?? this.#sprout(spot, plan.ground);
      mark.spot = spot;
      mark.parent = spot.parent;
      const left = named && namedLeft(spot, plan.spots.values(), plan.radius, plan.ground.x);
      this.#dress(mark, spot, path, left);
    }
    for (const mark of [...this.marks.values()]) {
      if (!plan.spots.has(mark.id)) this.#drop(mark);
    }
    const peers = this.model.total;
    set(this.picture, { "aria-label": summary(this.model, this.self) });
    this.root.dataset.peers = String(peers);
    this.bare.hidden = peers > 0;
    if (this.still.matches) this.#settle();
    else this.#animate();
    this.#showTip();
  }

  /** Soil and trunk. @param {number} width */
  #plant(width) {
    const { x, y } = this.ground;
    const w = Math.min(width * 0.44, 230);
    set(this.soil, {
      d: `M${x - w} ${y + 5}C${x - w * 0.5} ${y - 4} ${x + w * 0.4} ${y - 3} ${x + w} ${y + 5}`,
    });
    const t = Math.min(5 + Math.sqrt(this.model.peers.size) * 1.1, 13);
    const top = y - 34;
    set(this.trunk, {
      d: `M${x - t} ${top}C${x - t} ${y - 14} ${x - t - 3} ${y - 5} ${x - t * 2 - 12} ${y + 2}C${x - t} ${y - 2} ${x - 4} ${y} ${x} ${y + 3}C${x + 4} ${y} ${x + t} ${y - 2} ${x + t * 2 + 12} ${y + 2}C${x + t + 3} ${y - 5} ${x + t} ${y - 14} ${x + t} ${top}Z`,
      hidden: this.model.peers.size === 0,
    });
  }

  /** Names from ourselves up to the root. */
  #pathToSelf() {
    /** @type {Set<string>} */
    const path = new Set();
    for (let peer = this.model.peers.get(this.self); peer && !path.has(peer.id); ) {
      path.add(peer.id);
      peer = peer.parent === null ? undefined : this.model.peers.get(peer.parent);
    }
    return path;
  }

  /** @param {Spot} spot @param {{ x: number, y: number }} ground @returns {Mark} */
  #sprout(spot, ground) {
    const from = (spot.parent !== null && this.marks.get(spot.parent)) || ground;
    const mark = makeMark(spot, from);
    this.marks.set(spot.id, mark);
    this.crowns.append(mark.crown);
    this.woods.append(mark.wood);
    this.nodes.append(mark.group);
    return mark;
  }

  /** @param {Mark} mark @param {Spot} spot @param {Set<string>} path @param {boolean} left whether its name is there */
  #dress(mark, spot, path, left) {
    const { peer } = spot.branch;
    const root = peer.parent === null && spot.branch.level === 0;
    const own = peer.id === this.self;
    const r = root ? Math.max(this.radius * 1.35, 9) : own ? Math.max(this.radius, 6.5) : this.radius;
    const native = root || peer.class === "native";
    set(mark.group, {
      "data-kind": root ? "root" : native ? "native" : "browser",
      "data-self": own,
      "data-path": path.has(peer.id),
      "data-lossy": peer.loss_permille >= 20,
    });
    arm(mark, native && !root && !own);
    if (own && this.nodes.lastChild !== mark.group) this.nodes.append(mark.group);
    set(mark.shape, { d: native ? disc(r) : leafShape(r * 1.25) });
    set(mark.group.children[0], { r: Math.max(r + 3, 12) });
    set(mark.group.children[1], { r: r + (own ? 6.5 : 4.5) });
    const name = root ? "root" : own ? "you" : this.model.peers.size <= NAMED ? shortId(peer.id) : "";
    write(mark.label, name);
    const beside = r + (own ? 11 : 6);
    set(mark.label, {
      "text-anchor": root ? "middle" : left ? "end" : "start",
      x: root ? 0 : left ? -beside : beside,
      y: root ? 58 : 4,
    });
    const thick = 1.6 + 1.35 * Math.sqrt(spot.size);
    set(mark.wood, { "stroke-width": thick.toFixed(1), "data-path": path.has(peer.id) });
    set(mark.crown, { r: (native && spot.branch.children.length > 0 ? 2.2 : 3.4) * this.radius + 8 });
  }

  /** Lets a mark that has left fall like a leaf. @param {Mark} mark */
  #drop(mark) {
    this.marks.delete(mark.id);
    mark.wood.remove();
    mark.crown.remove();
    mark.spot = null;
    if (this.still.matches) mark.group.remove();
    else this.falling.add(mark);
    mark.group.dataset.gone = "";
    if (this.pointed === mark.id) this.#point(null);
  }

  #settle() {
    for (const mark of this.marks.values()) {
      if (!mark.spot) continue;
      mark.x = mark.spot.x;
      mark.y = mark.spot.y;
      mark.angle = mark.spot.angle;
      mark.scale = 1;
    }
    this.#draw();
  }

  #animate() {
    if (this.frame) return;
    this.before = performance.now();
    const step = (/** @type {number} */ now) => {
      const seconds = Math.min(Math.max(now - this.before, 0) / 1000, 0.05);
      this.before = now;
      const moving = this.#move(seconds);
      this.#draw();
      this.frame = moving ? requestAnimationFrame(step) : 0;
    };
    this.frame = requestAnimationFrame(step);
  }

  /** @param {number} dt seconds @returns {boolean} whether anything still moves */
  #move(dt) {
    let moving = false;
    for (const mark of this.marks.values()) moving = glide(mark, dt) || moving;
    for (const mark of this.falling) {
      moving = true;
      if (fall(mark, dt)) continue;
      mark.group.remove();
      this.falling.delete(mark);
    }
    return moving;
  }

  #draw() {
    for (const mark of [...this.marks.values(), ...this.falling]) {
      const turn = mark.group.getAttribute("data-kind") === "browser" ? (mark.angle * 180) / Math.PI : 0;
      const at = `translate(${mark.x.toFixed(1)} ${mark.y.toFixed(1)})`;
      set(mark.group, { transform: `${at} scale(${mark.scale.toFixed(3)})` });
      set(mark.shape, { transform: `rotate(${turn.toFixed(1)})` });
      set(mark.crown, { transform: `${at} scale(${mark.scale.toFixed(2)})` });
      const parent = mark.parent === null ? undefined : this.marks.get(mark.parent);
      if (mark.spot && parent) set(mark.wood, { d: pathOf(branchCurve(parent, mark)) });
      else if (mark.spot) mark.wood.removeAttribute("d");
    }
    this.#drawStrands();
    this.#drawAerials();
    this.#feed();
    this.#placeTip();
  }

  /** Strands that hang from strong branches down to the soil, as a banyan has them. */
  #drawStrands() {
    let i = 0;
    for (const mark of this.marks.values()) {
      const { spot } = mark;
      if (!spot || spot.parent === null || spot.branch.children.length === 0) continue;
      if (Math.abs(mark.x - this.ground.x) < 26 || mark.y > this.ground.y - 30) continue;
      const path = this.strands.children[i++] ?? this.strands.appendChild(svg("path"));
      const lean = (mark.x - this.ground.x) * 0.04;
      const foot = this.ground.y + 3;
      const half = (mark.y + foot) / 2;
      set(path, {
        d: `M${mark.x.toFixed(1)} ${mark.y.toFixed(1)}C${(mark.x + lean).toFixed(1)} ${half.toFixed(1)} ${(mark.x + lean).toFixed(1)} ${half.toFixed(1)} ${(mark.x + lean / 2).toFixed(1)} ${foot.toFixed(1)}`,
      });
    }
    while (this.strands.children.length > i) this.strands.lastChild?.remove();
  }

  /** Tells the flow which branches there are, each with its way from the root. */
  #feed() {
    /** @type {Map<string, number>} */
    const ends = new Map();
    this.flow.stems = [];
    this.flow.source = null;
    for (const spot of this.#topDown()) {
      const mark = this.marks.get(spot.id);
      const parent = spot.parent === null ? undefined : this.marks.get(spot.parent);
      if (!mark) continue;
      if (!parent) {
        if (spot.branch.peer.parent === null) {
          this.flow.source = { x: mark.x, y: mark.y, r: this.radius * 1.35 };
        }
        continue;
      }
      const curve = branchCurve(parent, mark);
      const length = curveLength(curve);
      const start = ends.get(parent.id) ?? 0;
      ends.set(mark.id, start + length);
      const own = mark.group.hasAttribute("data-path");
      const loss = spot.branch.peer.loss_permille;
      this.flow.stems.push({ curve, length, start, skip: this.radius, own, loss });
    }
  }

  #topDown() {
    return [...this.marks.values()]
      .flatMap(({ spot }) => (spot ? [spot] : []))
      .sort((a, b) => a.branch.level - b.branch.level);
  }

  /** Standbys hang beside the tree like a banyan's aerial roots. */
  #drawAerials() {
    let i = 0;
    for (const mark of this.marks.values()) {
      const standby = mark.spot?.branch.peer.standby;
      const other = standby ? this.marks.get(standby) : undefined;
      if (!other) continue;
      const path = this.aerials.children[i++] ?? this.aerials.appendChild(svg("path", { class: "aerial" }));
      const mid = (mark.x + other.x) / 2;
      const low = Math.max(mark.y, other.y) + 18;
      set(path, { d: `M${other.x.toFixed(1)} ${other.y.toFixed(1)}Q${mid.toFixed(1)} ${low.toFixed(1)} ${mark.x.toFixed(1)} ${mark.y.toFixed(1)}` });
    }
    while (this.aerials.children.length > i) this.aerials.lastChild?.remove();
  }

  /** @param {string | null} id */
  #point(id) {
    if (id === this.pointed) return;
    for (const [name, on] of /** @type {const} */ ([[this.pointed, false], [id, true]])) {
      const mark = name === null ? undefined : this.marks.get(name);
      if (mark) set(mark.group, { "data-pointed": on });
    }
    this.pointed = id;
    this.#showTip();
  }

  #showTip() {
    const peer = this.pointed === null ? undefined : this.model.peers.get(this.pointed);
    this.tip.hidden = !peer;
    if (!peer) return;
    const [title, ...lines] = describe(this.model, peer, this.self);
    const rows = [html("strong", {}, title), ...lines.map((line) => html("span", {}, line))];
    this.tip.replaceChildren(...rows);
    this.#placeTip();
  }

  #placeTip() {
    const mark = this.pointed === null ? undefined : this.marks.get(this.pointed);
    if (!mark || this.tip.hidden) return;
    const { width } = this.root.getBoundingClientRect();
    const half = this.tip.offsetWidth / 2 + 4;
    const left = Math.min(Math.max(mark.x, half), Math.max(width - half, half));
    const above = mark.y > this.tip.offsetHeight + 24;
    this.tip.dataset.side = above ? "above" : "below";
    this.tip.style.setProperty("left", `${left.toFixed(0)}px`);
    this.tip.style.setProperty("top", `${(mark.y + (above ? -1 : 1) * (this.radius + 10)).toFixed(0)}px`);
  }

  /** Arrow keys walk the tree: up and down along a branch, left and right among siblings. @param {KeyboardEvent} event */
  #walk(event) {
    if (event.key === "Escape") return this.#point(null);
    if (event.key === "Enter" || event.key === " ") {
      if (this.pointed !== null) kill(this.marks.get(this.pointed));
      return event.preventDefault();
    }
    const steps = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"];
    if (!steps.includes(event.key)) return;
    event.preventDefault();
    const at = this.pointed === null ? undefined : this.marks.get(this.pointed)?.spot;
    if (!at) {
      const first = this.marks.has(this.self) ? this.self : [...this.marks.keys()][0];
      return this.#point(first ?? null);
    }
    if (event.key === "ArrowUp") return this.#point(at.branch.children[0]?.peer.id ?? at.id);
    if (event.key === "ArrowDown") return this.#point(at.parent ?? at.id);
    const row = [...this.marks.values()]
      .flatMap(({ spot }) => (spot && spot.branch.level === at.branch.level ? [spot] : []))
      .sort((a, b) => a.x - b.x);
    const next = row.findIndex(({ id }) => id === at.id) + (event.key === "ArrowRight" ? 1 : -1);
    this.#point(row[next]?.id ?? at.id);
  }

  /** The list follows at a reader's pace. */
  #listSoon() {
    if (this.listTimer) return;
    this.listTimer = window.setTimeout(() => {
      this.listTimer = 0;
      const branches = this.model.branches();
      this.outline.replaceChildren(...branches.map((branch) => outline(this.model, branch, this.self)));
    }, 400);
  }
}

/** @param {EventTarget | null} target */
const markId = (target) =>
  (target instanceof Element && target.closest(".mark")?.getAttribute("data-id")) || null;
