/** The living tree: draws the model as a growing banyan and as a nested list. */
import { html, set, svg, write } from "./dom.js";
import { age, duration, loss, plural, shortId } from "./format.js";
import { curve, layout } from "./tree-layout.js";
import { TreeModel } from "./tree-model.js";

/** @typedef {import("./tree-model.js").Branch} Branch */
/** @typedef {import("./tree-layout.js").Spot} Spot */
/** @typedef {import("./wire.js").TreePeer} TreePeer */

/** Trees up to this many peers show everybody's name. */
const NAMED = 14;
/** Stiffness and damping of the springs that move the marks, per second. */
const STIFF = 60;
const DAMP = 13;
/** How long (s) a mark that has left falls. */
const FALL = 0.9;

/**
 * A drawn peer and where it is on its way to its spot.
 * @typedef {object} Mark
 * @property {string} id
 * @property {string | null} parent
 * @property {SVGGElement} group
 * @property {SVGElement} shape
 * @property {SVGTextElement} label
 * @property {SVGPathElement} wood
 * @property {SVGPathElement} flow
 * @property {SVGCircleElement} crown
 * @property {number} x
 * @property {number} y
 * @property {number} vx
 * @property {number} vy
 * @property {number} angle
 * @property {number} scale
 * @property {number} fallen seconds since it left; 0 while it is here
 * @property {Spot | null} spot
 */

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
    this.flows = svg("g", { class: "flows" });
    this.nodes = svg("g", { class: "nodes" });
    this.soil = svg("path", { class: "soil" });
    this.picture = svg(
      "svg",
      { class: "tree-picture", role: "img", tabindex: 0 },
      svg(
        "defs",
        {},
        svg(
          "radialGradient",
          { id: "crown-fill" },
          svg("stop", { offset: "0", class: "crown-inner" }),
          svg("stop", { offset: "1", class: "crown-outer" }),
        ),
      ),
      this.crowns,
      this.soil,
      this.woods,
      this.aerials,
      this.flows,
      this.nodes,
    );
    this.tip = html("div", { class: "tip", hidden: true });
    root.append(this.picture, this.tip);

    this.picture.addEventListener("pointerover", (event) => this.#point(markId(event.target)));
    this.picture.addEventListener("pointerleave", () => this.#point(null));
    this.picture.addEventListener("click", (event) => this.#point(markId(event.target)));
    this.picture.addEventListener("keydown", (event) => this.#walk(event));
    this.picture.addEventListener("blur", () => this.#point(null));
    new ResizeObserver(() => this.#arrange()).observe(root);
    new IntersectionObserver(([entry]) => {
      root.dataset.seen = String(entry.isIntersecting);
    }).observe(root);
  }

  /** @param {import("./wire.js").TreeUpdate} update */
  update(update) {
    this.model.apply(update);
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
    // A stream of 1 Mbit/s moves a packet's length each 0.8 s; the eye tells faster from slower.
    const seconds = Math.min(1.6, Math.max(0.45, 0.8 / Math.sqrt(Math.max(bits, 1e5) / 1e6)));
    const pace = `${seconds.toFixed(1)}s`;
    if (this.root.style.getPropertyValue("--pace") !== pace) this.root.style.setProperty("--pace", pace);
    if (self === this.self) return;
    this.self = self;
    this.#arrange();
    this.#listSoon();
  }

  #arrange() {
    const { width, height } = this.root.getBoundingClientRect();
    if (width < 10 || height < 10) return;
    set(this.picture, { viewBox: `0 0 ${Math.round(width)} ${Math.round(height)}` });
    const plan = layout(this.model.branches(), width, height);
    this.radius = plan.radius;
    const { x, y } = plan.ground;
    const w = Math.min(width * 0.42, 190);
    set(this.soil, {
      d: `M${x - w} ${y + 16}C${x - w * 0.4} ${y + 9} ${x - 14} ${y + 13} ${x} ${y + 6}C${x + 14} ${y + 13} ${x + w * 0.4} ${y + 9} ${x + w} ${y + 16}`,
    });

    const path = this.#pathToSelf();
    for (const spot of plan.spots.values()) {
      const mark = this.marks.get(spot.id) ?? this.#sprout(spot, plan.ground);
      mark.spot = spot;
      mark.parent = spot.parent;
      this.#dress(mark, spot, path);
    }
    for (const mark of [...this.marks.values()]) {
      if (!plan.spots.has(mark.id)) this.#drop(mark);
    }
    const peers = this.model.total;
    set(this.picture, { "aria-label": this.#summary() });
    this.root.dataset.peers = String(peers);
    if (this.still.matches) this.#settle();
    else this.#animate();
    this.#showTip();
  }

  #summary() {
    const { model } = this;
    if (model.peers.size === 0) return "No tree yet";
    const hops = model.perDepth.length > 0 ? model.perDepth.length - 1 : 0;
    const own = model.peers.get(this.self);
    const place = own ? `; you are ${plural(own.depth, "hop")} from the root` : "";
    return `Tree of ${plural(model.total, "peer")}, ${plural(hops, "hop")} deep${place}`;
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
    const shape = svg("path", { class: "shape" });
    const label = svg("text", { class: "label", "text-anchor": "middle" });
    const group = svg(
      "g",
      { class: "mark", "data-id": spot.id },
      svg("circle", { class: "reach" }),
      svg("circle", { class: "halo" }),
      shape,
      label,
    );
    /** @type {Mark} */
    const mark = {
      id: spot.id,
      parent: spot.parent,
      group,
      shape,
      label,
      wood: svg("path", { class: "wood" }),
      flow: svg("path", { class: "flow" }),
      crown: svg("circle", { class: "crown-leaf", fill: "url(#crown-fill)" }),
      x: from.x,
      y: from.y,
      vx: 0,
      vy: 0,
      angle: spot.angle,
      scale: 0,
      fallen: 0,
      spot,
    };
    this.marks.set(spot.id, mark);
    this.crowns.append(mark.crown);
    this.woods.append(mark.wood);
    this.flows.append(mark.flow);
    this.nodes.append(group);
    return mark;
  }

  /** @param {Mark} mark @param {Spot} spot @param {Set<string>} path */
  #dress(mark, spot, path) {
    const { peer } = spot.branch;
    const root = peer.parent === null && spot.branch.level === 0;
    const own = peer.id === this.self;
    const r = root ? Math.max(this.radius * 1.35, 9) : this.radius;
    set(mark.group, {
      "data-kind": root ? "root" : peer.class,
      "data-self": own,
      "data-path": path.has(peer.id),
      "data-lossy": peer.loss_permille >= 20,
    });
    const native = root || peer.class === "native";
    set(mark.shape, { d: native ? disc(r) : leafShape(r * 1.25) });
    set(mark.group.children[0], { r: Math.max(r + 3, 12) });
    set(mark.group.children[1], { r: r + 4.5 });
    const name = root ? "root" : own ? "you" : this.model.peers.size <= NAMED ? shortId(peer.id) : "";
    write(mark.label, name);
    set(mark.label, { y: r + (root ? 15 : 14) });
    const thick = 1.1 + 1.15 * Math.sqrt(spot.size);
    set(mark.wood, { "stroke-width": thick.toFixed(1), "data-path": path.has(peer.id) });
    set(mark.flow, {
      "data-path": path.has(peer.id),
      "data-lossy": peer.loss_permille >= 20,
      hidden: spot.parent === null,
    });
    set(mark.crown, { r: (native && spot.branch.children.length > 0 ? 2.2 : 3.4) * this.radius + 8 });
  }

  /** Lets a mark that has left fall like a leaf. @param {Mark} mark */
  #drop(mark) {
    this.marks.delete(mark.id);
    mark.wood.remove();
    mark.flow.remove();
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
    for (const mark of this.marks.values()) {
      const { spot } = mark;
      if (!spot) continue;
      mark.vx += ((spot.x - mark.x) * STIFF - mark.vx * DAMP) * dt;
      mark.vy += ((spot.y - mark.y) * STIFF - mark.vy * DAMP) * dt;
      mark.x += mark.vx * dt;
      mark.y += mark.vy * dt;
      mark.angle += (spot.angle - mark.angle) * Math.min(1, dt * 7);
      mark.scale += (1 - mark.scale) * Math.min(1, dt * 7);
      const far = Math.abs(spot.x - mark.x) + Math.abs(spot.y - mark.y);
      const fast = Math.abs(mark.vx) + Math.abs(mark.vy);
      if (far > 0.3 || fast > 2 || mark.scale < 0.995) moving = true;
    }
    for (const mark of this.falling) {
      mark.fallen += dt;
      mark.vy += 260 * dt;
      mark.y += mark.vy * dt;
      mark.x += Math.sin(mark.fallen * 7) * 26 * dt;
      mark.angle += 2.4 * dt;
      mark.scale = Math.max(0, 1 - mark.fallen / FALL);
      if (mark.fallen >= FALL) {
        mark.group.remove();
        this.falling.delete(mark);
      }
      moving = true;
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
      if (mark.spot && parent) {
        const d = curve(parent, mark);
        set(mark.wood, { d });
        set(mark.flow, { d });
      } else if (mark.spot && mark.wood.hasAttribute("d")) {
        mark.wood.removeAttribute("d");
        mark.flow.removeAttribute("d");
      }
    }
    this.#drawAerials();
    this.#placeTip();
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
    const [title, ...lines] = describe(peer, this.self);
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
      this.outline.replaceChildren(...branches.map((branch) => outline(branch, this.self)));
    }, 400);
  }
}

/** @param {EventTarget | null} target */
const markId = (target) =>
  (target instanceof Element && target.closest(".mark")?.getAttribute("data-id")) || null;

/** @param {TreePeer} peer @param {string} self @returns {string[]} */
function describe(peer, self) {
  const root = peer.parent === null;
  const kind = root ? "Root, the broadcaster" : peer.class === "native" ? "Native node" : "Browser";
  const lines = [
    `${peer.id === self ? "You" : shortId(peer.id)} · ${kind}`,
    root ? "" : `${plural(peer.depth, "hop")} from the root, under ${shortId(peer.parent ?? "")}`,
    peer.slots > 0 ? `feeds ${peer.used} of ${peer.slots}` : "",
    root ? "" : `delay ${duration(peer.delay_ms)}, loss ${loss(peer.loss_permille)}`,
    `here for ${age(peer.age)}`,
  ];
  return lines.filter((line) => line !== "");
}

/** @param {Branch} branch @param {string} self @returns {HTMLLIElement} */
function outline({ peer, children }, self) {
  const item = html("li", {}, describe(peer, self).join(", "));
  if (peer.id === self) item.setAttribute("aria-current", "true");
  if (children.length > 0) item.append(html("ul", {}, ...children.map((child) => outline(child, self))));
  return item;
}

/** @param {number} r */
const disc = (r) => `M${-r} 0A${r} ${r} 0 1 1 ${r} 0A${r} ${r} 0 1 1 ${-r} 0Z`;

/** A leaf that points up. @param {number} r */
const leafShape = (r) =>
  `M0 ${(r * 0.95).toFixed(1)}C${(-r * 1.25).toFixed(1)} ${(r * 0.45).toFixed(1)} ${(-r * 0.85).toFixed(1)} ${(-r * 0.75).toFixed(1)} 0 ${(-r * 1.15).toFixed(1)}C${(r * 0.85).toFixed(1)} ${(-r * 0.75).toFixed(1)} ${(r * 1.25).toFixed(1)} ${(r * 0.45).toFixed(1)} 0 ${(r * 0.95).toFixed(1)}Z`;
