/**
 * Time and chance as the page's parts see them, so that tests can hold both still.
 * @typedef {object} Clock
 * @property {() => number} now milliseconds, any origin, never going back
 * @property {(ms: number, run: () => void) => () => void} after runs once; returns its cancel
 * @property {(ms: number, run: () => void) => () => void} every runs again and again; returns its cancel
 * @property {() => number} random from 0 to below 1
 */

/**
 * The browser's own clock. Repeating timers tick in a worker, because a page in the background has
 * its own timers slowed to one a second, and a parent would take such a child for gone.
 * @returns {Clock}
 */
export function browserClock() {
  const ticker = startTicker();
  return {
    now: () => performance.now(),
    random: () => Math.random(),
    after(ms, run) {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
    every(ms, run) {
      if (ticker) return ticker(ms, run);
      const timer = setInterval(run, ms);
      return () => clearInterval(timer);
    },
  };
}

/** @returns {Clock["every"] | null} */
function startTicker() {
  /** @type {Worker} */
  let worker;
  try {
    worker = new Worker("/ticker.js");
  } catch {
    return null;
  }
  /** @type {Map<number, { ms: number, run: () => void, fallback: ReturnType<typeof setInterval> | 0 }>} */
  const timers = new Map();
  let next = 1;
  let broken = false;
  worker.onmessage = (event) => timers.get(event.data)?.run();
  worker.onerror = () => {
    broken = true;
    for (const timer of timers.values()) timer.fallback ||= setInterval(timer.run, timer.ms);
  };
  return (ms, run) => {
    const id = next++;
    timers.set(id, { ms, run, fallback: broken ? setInterval(run, ms) : 0 });
    worker.postMessage({ start: id, ms });
    return () => {
      clearInterval(timers.get(id)?.fallback);
      timers.delete(id);
      worker.postMessage({ stop: id });
    };
  };
}
