/**
 * The picture: two video elements, one on screen and one in the wings, so that the old picture
 * stays until the new one plays.
 */

/** A picture that is not later than the one on screen for so long (ms) never will be. */
const LATER = 3000;
/** Units of a picture's timestamp in a second (RFC 6184, 7741). */
const VIDEO_CLOCK = 90_000;

/**
 * @typedef {object} PlayerEvents
 * @property {(link: number) => void} shown the first picture of a link is on screen
 * @property {() => void} sound muted or not has changed
 */

export class Player {
  /** @param {HTMLElement} frame the videos' parent @param {PlayerEvents} events */
  constructor(frame, events) {
    this.events = events;
    this.muted = true;
    this.volume = 1;
    const [wings, front] = [makeVideo(), makeVideo()];
    frame.prepend(wings, front);
    /** On screen; the other one waits in the wings. */
    this.front = front;
    this.wings = wings;
    this.frontLink = 0;
    this.wingsLink = 0;
    /** How often something was prepared: what waits for an earlier picture waits no more. */
    this.turn = 0;
    /** RTP timestamp of the picture on screen, where the browser tells. @type {number | null} */
    this.timestamp = null;
    for (const video of [front, wings]) {
      video.addEventListener("pause", () => {
        // Live has no pause; browsers pause on their own when a headset is unplugged, for example.
        if (video.srcObject && !document.hidden) void video.play().catch(() => {});
      });
    }
  }

  /**
   * Prepares `stream`; it takes the screen with its first picture that is later than the one there.
   * @param {MediaStream} stream @param {number} link
   */
  show(stream, link) {
    if (this.wingsLink === link || this.frontLink === link) return;
    const video = this.wings;
    const since = performance.now();
    this.wingsLink = link;
    video.muted = true;
    video.srcObject = stream;
    video.play().catch(() => {});
    this.turn += 1;
    const { turn } = this;
    const waits = () => this.turn === turn && this.wingsLink === link && video.srcObject === stream;
    /** @param {number} now @param {{ rtpTimestamp?: number }} picture */
    const presented = (now, picture) => {
      const rtpTimestamp = picture.rtpTimestamp ?? null;
      if (waits() && (isLater(rtpTimestamp, this.timestamp) || now - since > LATER)) this.#swap();
      if (this.frontLink === link && video === this.front) this.timestamp = rtpTimestamp;
      else if (!waits()) return;
      video.requestVideoFrameCallback(presented);
    };
    if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(presented);
    // In a background tab no frame is presented; the element still says that it plays.
    const ready = () => {
      if (video.videoWidth > 0 && waits() && (document.hidden || this.timestamp === null)) this.#swap();
    };
    video.addEventListener("playing", ready, { once: true });
  }

  /** What was prepared is not wanted any more. @param {number} link */
  dismiss(link) {
    if (this.wingsLink !== link) return;
    this.wingsLink = 0;
    this.wings.srcObject = null;
  }

  /** Puts the prepared stream on screen although it has no picture (sound only). @param {number} link */
  force(link) {
    if (this.wingsLink === link) this.#swap();
  }

  #swap() {
    const [front, wings] = [this.wings, this.front];
    this.front = front;
    this.wings = wings;
    this.frontLink = this.wingsLink;
    this.wingsLink = 0;
    front.dataset.active = "true";
    delete wings.dataset.active;
    wings.muted = true;
    wings.srcObject = null;
    this.timestamp = null;
    front.volume = this.volume;
    if (!this.muted) this.#loud();
    this.events.shown(this.frontLink);
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.muted = muted;
    if (muted) this.front.muted = true;
    else this.#loud();
    this.events.sound();
  }

  toggleMuted() {
    this.setMuted(!this.muted);
  }

  /** @param {number} volume 0 to 1 */
  setVolume(volume) {
    this.volume = Math.min(1, Math.max(0, volume));
    this.front.volume = this.volume;
    this.events.sound();
  }

  #loud() {
    const video = this.front;
    video.muted = false;
    if (!video.srcObject) return;
    video.play().catch(() => {
      // The browser wants a click first: picture without sound rather than neither.
      if (video !== this.front) return;
      this.muted = true;
      video.muted = true;
      void video.play().catch(() => {});
      this.events.sound();
    });
  }
}

/**
 * Whether a picture is no earlier than another of the same stream; one of another time is as good.
 * @param {number | null} timestamp @param {number | null} than
 */
function isLater(timestamp, than) {
  if (timestamp === null || than === null) return true;
  const ahead = (timestamp - than) | 0;
  return ahead >= 0 || ahead < -10 * VIDEO_CLOCK;
}

function makeVideo() {
  const video = document.createElement("video");
  video.muted = true;
  video.autoplay = true;
  video.playsInline = true;
  video.disablePictureInPicture = false;
  video.tabIndex = -1;
  return video;
}
