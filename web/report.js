/** What a page tells its tracker once a second. */

/** @typedef {import("./attempt.js").Attempt} Attempt */

/**
 * The report of a page that is fed over `link`, and its loss since the last one, if that is known.
 * @param {Attempt | null} link
 */
export function reportOf(link) {
  const report = {
    parent: link?.parent ?? null,
    children: [],
    slots: 0,
    delay_ms: 0,
    lost: 0,
    received: 0,
    up_bytes_per_second: 0,
  };
  if (!link?.sample) return { report, lossPermille: null };
  const { packets, lost } = link.sample;
  // With other tracks all counts begin anew.
  const before = packets >= link.reported.packets ? link.reported : { packets: 0, lost: 0 };
  link.reported = { packets, lost };
  report.received = packets - before.packets;
  report.lost = Math.max(0, lost - before.lost);
  report.delay_ms = Math.round(link.upstream.delayMs);
  const all = report.received + report.lost;
  return { report, lossPermille: all > 0 ? Math.round((1000 * report.lost) / all) : 0 };
}
