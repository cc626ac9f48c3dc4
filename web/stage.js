/** The player as people see it: picture, words over it, sound and full screen, by mouse and keys. */
import { banyan, html, icon, write } from "./dom.js";
import { words } from "./format.js";
import { Player } from "./player.js";

/** @typedef {import("./peer-contract.js").PeerView} PeerView */

/** The controls fade this long (ms) after the last movement. */
const CONTROLS_FADE = 2800;

export class Stage {
  /**
   * @param {HTMLElement} root the element to fill
   * @param {{ shown: (link: number) => void, again: () => void }} events
   */
  constructor(root, events) {
    this.root = root;
    this.playing = false;
    this.settled = false;
    root.classList.add("stage");

    this.cueText = html("span", {}, matchMedia("(hover: none)").matches ? "Tap for sound" : "Click for sound");
    this.cue = html("button", { class: "cue", type: "button", hidden: true }, icon("muted"), this.cueText);
    this.live = html("span", { class: "pill", "data-tone": "busy" }, "");
    this.mute = html("button", { class: "tool", type: "button" });
    this.volume = html("input", {
      class: "volume",
      type: "range",
      min: 0,
      max: 1,
      step: 0.05,
      value: 1,
      "aria-label": "Volume",
    });
    this.full = html("button", { class: "tool", type: "button" });
    this.controls = html(
      "div",
      { class: "controls" },
      this.live,
      html("span", { class: "gap" }),
      this.mute,
      this.volume,
      this.full,
    );
    this.note = html("p", { class: "note", hidden: true });
    this.veilTitle = html("p", { class: "veil-title" });
    this.veilText = html("p", { class: "veil-text" });
    this.action = html("button", { class: "button", type: "button", hidden: true });
    this.veil = html(
      "div",
      { class: "veil" },
      banyan("banyan sprout"),
      this.veilTitle,
      this.veilText,
      this.action,
    );
    this.announce = html("p", { class: "heard-only", role: "status", "aria-live": "polite" });
    root.append(this.veil, this.note, this.cue, this.controls, this.announce);
    this.player = new Player(root, {
      shown: (link) => events.shown(link),
      sound: () => this.#sound(),
    });

    this.cue.addEventListener("click", () => {
      this.player.setMuted(false);
      this.mute.focus({ preventScroll: true });
    });
    // Whoever misses the button means it all the same.
    root.addEventListener("click", (event) => {
      if (!this.cue.hidden && event.target instanceof HTMLVideoElement) this.player.setMuted(false);
    });
    this.mute.addEventListener("click", () => this.player.toggleMuted());
    this.volume.addEventListener("input", () => {
      const value = Number(this.volume.value);
      this.player.setVolume(value);
      this.player.setMuted(value === 0);
    });
    this.full.addEventListener("click", () => this.#toggleFull());
    this.action.addEventListener("click", () => events.again());
    root.addEventListener("dblclick", (event) => {
      if (!(event.target instanceof HTMLButtonElement)) this.#toggleFull();
    });
    document.addEventListener("fullscreenchange", () => this.#fullIcon());
    addEventListener("keydown", (event) => this.#key(event));
    this.#fade();
    this.#sound();
    this.#fullIcon();
  }

  /** @param {PeerView} view */
  render(view) {
    const say = words(view);
    const { root } = this;
    root.dataset.tone = say.tone;
    const covers = say.covers && !(this.player.frontLink > 0 && say.tone === "busy");
    this.veil.hidden = !covers;
    this.veil.dataset.tone = say.tone;
    write(this.veilTitle, say.title);
    write(this.veilText, say.text);
    this.action.hidden = say.action === null;
    write(this.action, say.action ?? "");
    const noted = !covers && say.tone !== "good";
    this.note.hidden = !noted;
    if (noted) write(this.note, say.title);
    this.live.dataset.tone = say.tone;
    write(this.live, say.label);
    write(this.announce, say.tone === "good" ? "Live. The picture plays." : `${say.title}. ${say.text}`);
    this.playing = this.player.frontLink > 0 && !covers;
    root.dataset.playing = String(this.playing);
    if (view.state === "playing" && view.link !== null && view.sample?.framesDecoded === 0) {
      this.player.force(view.link);
    }
    this.#sound();
  }

  /** Says one thing for good. @param {string} title @param {string} text */
  tell(title, text) {
    this.veil.dataset.tone = this.root.dataset.tone = "bad";
    this.live.hidden = true;
    write(this.veilTitle, title);
    write(this.veilText, text);
    write(this.announce, `${title}. ${text}`);
  }

  #sound() {
    const { muted } = this.player;
    this.cue.hidden = !(muted && this.playing && !this.settled);
    if (!muted) this.settled = true;
    const label = muted ? "Sound on (M)" : "Mute (M)";
    if (this.mute.getAttribute("aria-label") !== label) {
      this.mute.setAttribute("aria-label", label);
      this.mute.title = label;
      this.mute.replaceChildren(icon(muted ? "muted" : "sound"));
    }
    const value = String(muted ? 0 : this.player.volume);
    if (this.volume.value !== value) this.volume.value = value;
    this.root.dataset.muted = String(muted);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const { target } = event;
    if (target instanceof HTMLElement && target.matches("input:not([type=range]), textarea, select")) return;
    const key = event.key.toLowerCase();
    if (key === "m") this.player.toggleMuted();
    else if (key === "f") this.#toggleFull();
  }

  #toggleFull() {
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (this.root.requestFullscreen) void this.root.requestFullscreen().catch(() => {});
    else {
      // iPhones let only the video itself fill the screen.
      const video = /** @type {HTMLVideoElement & { webkitEnterFullscreen?: () => void }} */ (this.player.front);
      video.webkitEnterFullscreen?.();
    }
  }

  #fullIcon() {
    const is = document.fullscreenElement === this.root;
    const label = is ? "Leave full screen (F)" : "Full screen (F)";
    this.full.setAttribute("aria-label", label);
    this.full.title = label;
    this.full.replaceChildren(icon(is ? "shrink" : "grow"));
  }

  #fade() {
    /** @type {ReturnType<typeof setTimeout>} */
    let timer;
    const wake = () => {
      this.root.dataset.awake = "true";
      clearTimeout(timer);
      timer = setTimeout(() => delete this.root.dataset.awake, CONTROLS_FADE);
    };
    for (const event of ["pointermove", "pointerdown", "focusin"]) this.root.addEventListener(event, wake);
    wake();
  }
}
