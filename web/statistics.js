/** What a connection's statistics (W3C "Identifiers for WebRTC's Statistics API") say about its media. */

/**
 * What the statistics say about the media so far.
 * @typedef {object} Sample
 * @property {number} packets received so far
 * @property {number} lost so far
 * @property {number} bytes received so far
 * @property {number} framesDecoded
 * @property {number} framesDropped
 * @property {number} freezes
 * @property {number} width
 * @property {number} height
 * @property {number} audioSamples played so far
 * @property {number} audioLevel 0 to 1
 * @property {number} bufferMs mean time a picture waited in the jitter buffer since the last sample
 * @property {number} bitsPerSecond since the last sample
 */

/** @returns {Sample} */
export function emptySample() {
  return {
    packets: 0,
    lost: 0,
    bytes: 0,
    framesDecoded: 0,
    framesDropped: 0,
    freezes: 0,
    width: 0,
    height: 0,
    audioSamples: 0,
    audioLevel: 0,
    bufferMs: 0,
    bitsPerSecond: 0,
  };
}

/** Reads one connection's statistics again and again. */
export class Meter {
  constructor() {
    this.bytes = 0;
    this.bufferDelay = 0;
    this.bufferCount = 0;
    this.bufferMs = 0;
    this.at = 0;
  }

  /** @param {RTCStatsReport} report @param {number} now milliseconds @returns {Sample} */
  read(report, now) {
    const sample = emptySample();
    let bufferDelay = 0;
    let bufferCount = 0;
    report.forEach((entry) => {
      if (entry.type !== "inbound-rtp") return;
      sample.packets += entry.packetsReceived ?? 0;
      sample.lost += Math.max(0, entry.packetsLost ?? 0);
      sample.bytes += entry.bytesReceived ?? 0;
      if (entry.kind === "video") {
        sample.framesDecoded = entry.framesDecoded ?? 0;
        sample.framesDropped = entry.framesDropped ?? 0;
        sample.freezes = entry.freezeCount ?? 0;
        sample.width = entry.frameWidth ?? 0;
        sample.height = entry.frameHeight ?? 0;
      } else {
        sample.audioSamples = entry.totalSamplesReceived ?? 0;
        sample.audioLevel = entry.audioLevel ?? 0;
      }
      // The picture's buffer counts; the sound's where there is no picture.
      if (entry.kind === "video" || bufferCount === 0) {
        bufferDelay = entry.jitterBufferDelay ?? 0;
        bufferCount = entry.jitterBufferEmittedCount ?? 0;
      }
    });
    const emitted = bufferCount - this.bufferCount;
    if (emitted > 0) this.bufferMs = Math.max(0, ((bufferDelay - this.bufferDelay) / emitted) * 1000);
    sample.bufferMs = this.bufferMs;
    const seconds = (now - this.at) / 1000;
    if (this.at > 0 && seconds > 0) {
      sample.bitsPerSecond = Math.max(0, ((sample.bytes - this.bytes) * 8) / seconds);
    }
    this.bytes = sample.bytes;
    this.bufferDelay = bufferDelay;
    this.bufferCount = bufferCount;
    this.at = now;
    return sample;
  }
}
