/** Worker: repeating timers that keep their pace while the page is in the background. */

/** @type {Map<number, ReturnType<typeof setInterval>>} */
const timers = new Map();

self.onmessage = (event) => {
  const { start, stop, ms } = event.data;
  if (start) timers.set(start, setInterval(() => self.postMessage(start), ms));
  if (stop) {
    clearInterval(timers.get(stop));
    timers.delete(stop);
  }
};
