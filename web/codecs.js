/** Whether this browser can play what a stream is made of. */

/** @typedef {import("./wire.js").TrackInfo} TrackInfo */
/** @typedef {{ mimeType: string, sdpFmtpLine?: string }} Capability */

/** Names as people write them. */
const NAMES = /** @type {Record<string, string>} */ ({
  opus: "Opus",
  h264: "H.264",
  vp8: "VP8",
  vp9: "VP9",
  av1: "AV1",
});

/** H.264 profiles (profile_idc) that every decoder for High decodes: Baseline, Main, Extended, High. */
const COMMON_H264 = ["42", "4d", "58", "64"];

/** @param {string} codec */
export const codecName = (codec) => NAMES[codec] ?? codec;

/** @param {string} fmtp */
const profile = (fmtp) => /profile-level-id=([0-9a-f]{2})/i.exec(fmtp)?.[1].toLowerCase();

/**
 * The first track that cannot be played here, by its codec's name; null when all can. Browsers
 * understate their H.264 profiles, so only an uncommon one has to be listed by name.
 * @param {TrackInfo[]} tracks
 * @param {Capability[]} known what the browser can receive
 */
export function unplayable(tracks, known) {
  for (const { codec, fmtp } of tracks) {
    const same = known.filter(({ mimeType }) => mimeType.split("/")[1]?.toLowerCase() === codec);
    const wanted = codec === "h264" ? profile(fmtp) : undefined;
    const special = wanted !== undefined && !COMMON_H264.includes(wanted);
    if (same.length === 0) return codecName(codec);
    if (special && !same.some(({ sdpFmtpLine }) => profile(sdpFmtpLine ?? "") === wanted)) {
      return `${codecName(codec)} in this profile`;
    }
  }
  return null;
}

/** What this browser can receive; null where it does not say. @returns {Capability[] | null} */
export function receivable() {
  if (typeof RTCRtpReceiver === "undefined" || !RTCRtpReceiver.getCapabilities) return null;
  const video = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
  const audio = RTCRtpReceiver.getCapabilities("audio")?.codecs ?? [];
  return [...video, ...audio];
}
