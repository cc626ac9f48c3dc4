/**
 * The packets that run through the tree. A canvas over the picture: moving a hundred dots inside
 * the SVG would repaint all of it at every frame.
 */
import { html } from "./dom.js";
import { along } from "./tree-layout.js";

/**
 * A branch that packets run along.
 * @typedef {object} Stem
 * @property {import("./tree-layout.js").Curve} curve
 * @property {number} length pixels
 * @property {number} start pixels from the root to its beginning
 * @property {number} skip pixels at either end that the marks cover
 * @property {boolean} own whether it leads to ourselves
 * @property {number} loss lost packets per thousand
 */

/** Pixels between two packets. */
const GAP = 26;
/** Least milliseconds between two frames. */
const FRAME = 32;
/** Seconds between two rings around the root. */
const RING = 2.6;

export class TreeFlow {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.canvas = html("canvas", { class: "tree-flow", "aria-hidden": "true" });
    this.pen = this.canvas.getContext("2d");
    root.append(this.canvas);
    /** @type {Stem[]} */
    this.stems = [];
    /** @type {{ x: number, y: number, r: number } | null} */
    this.source = null;
    this.speed = 60;
    this.wanted = false;
    this.seen = true;
    this.run = 0;
    this.before = 0;
    this.frame = 0;
    this.ink = { sap: "", lamp: "", bad: "" };
    this.inkAt = -1e9;
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    new IntersectionObserver(([entry]) => {
      this.seen = entry.isIntersecting;
      this.#wake();
    }).observe(root);
    this.still.addEventListener("change", () => this.#wake());
  }

  /** @param {number} width @param {number} height */
  resize(width, height) {
    const scale = Math.min(window.devicePixelRatio || 1, 2);
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    if (this.canvas.width === w && this.canvas.height === h) return;
    this.canvas.width = w;
    this.canvas.height = h;
    this.pen?.scale(scale, scale);
  }

  /** @param {boolean} flows @param {number} bits per second */
  tell(flows, bits) {
    // The eye tells a fat stream from a thin one by its pace.
    this.speed = Math.min(120, Math.max(34, 60 * Math.sqrt(bits / 1e6)));
    if (this.wanted === flows) return;
    this.wanted = flows;
    this.#wake();
  }

  #wake() {
    const go = this.wanted && this.seen && !this.still.matches;
    if (go && !this.frame) {
      this.before = performance.now();
      const step = (/** @type {number} */ now) => {
        this.frame = requestAnimationFrame(step);
        if (now - this.before < FRAME) return;
        this.run += Math.min((now - this.before) / 1000, 0.1) * this.speed;
        this.before = now;
        this.#draw(now);
      };
      this.frame = requestAnimationFrame(step);
    } else if (!go && this.frame) {
      cancelAnimationFrame(this.frame);
      this.frame = 0;
      this.pen?.clearRect(0, 0, this.canvas.width, this.canvas.height);
    }
  }

  /** @param {number} now */
  #draw(now) {
    const { pen, ink } = this;
    if (!pen) return;
    if (now - this.inkAt > 2000) this.#dip(now);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.#ring(pen, now);
    for (const own of [false, true]) {
      pen.fillStyle = own ? ink.lamp : ink.sap;
      const r = own ? 2.7 : 1.9;
      for (const stem of this.stems) if (stem.own === own) this.#packets(pen, stem, r);
    }
  }

  /** @param {CanvasRenderingContext2D} pen @param {Stem} stem @param {number} r */
  #packets(pen, { curve, length, start, skip, loss }, r) {
    const last = length - skip;
    let number = Math.ceil((start + skip - this.run) / GAP);
    pen.beginPath();
    for (let at = number * GAP + this.run - start; at < last; at += GAP, number += 1) {
      if (loss > 0 && missing(number, loss)) continue;
      const { x, y } = along(curve, at / length);
      pen.moveTo(x + r, y);
      pen.arc(x, y, r, 0, 7);
    }
    pen.globalAlpha = 0.95;
    pen.fill();
    pen.globalAlpha = 1;
  }

  /** @param {CanvasRenderingContext2D} pen @param {number} now */
  #ring(pen, now) {
    const { source } = this;
    if (!source) return;
    pen.strokeStyle = this.ink.lamp;
    pen.lineWidth = 2;
    for (const shift of [0, 0.5]) {
      const part = (now / 1000 / RING + shift) % 1;
      pen.globalAlpha = (1 - part) ** 2 * 0.7;
      pen.beginPath();
      pen.arc(source.x, source.y, source.r + 2 + part * 15, 0, 7);
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  /** Takes the colours of the page, which change with its scheme. @param {number} now */
  #dip(now) {
    const style = getComputedStyle(this.root);
    const of = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    this.ink = { sap: of("--sap"), lamp: of("--lamp"), bad: of("--bad") };
    this.inkAt = now;
  }
}

/** Whether a lossy branch lacks this packet; steady for each. @param {number} number @param {number} loss */
function missing(number, loss) {
  const hash = Math.imul(number ^ (number >>> 15), 0x2c1b3c6d) >>> 0;
  // Shown stronger than it is: one lost in fifty is nothing to see but plenty to hear.
  return hash % 1000 < Math.min(loss * 6, 800);
}
