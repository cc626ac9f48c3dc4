// Runs in the watch page before the page's own scripts, and notes what its viewer sees and hears.
// How to read stamp, flash and beep: tests/media/README.md.
(() => {
  const probe = { frames: [], sound: { peak: 0, beeps: [] }, candidates: [], connections: [] };
  window.probe = probe;

  const canvas = document.createElement('canvas');
  canvas.width = 640;
  canvas.height = 16;
  const context = canvas.getContext('2d', { willReadFrequently: true });

  // A picture is up at most one refresh of the screen before it is said to be displayed.
  const REFRESH = 17;

  // Null where the stamp is damaged; undefined where the element draws nothing yet.
  function stampedNumber(video) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    const scale = video.videoHeight / 360;
    context.drawImage(video, 0, 344 * scale, video.videoWidth, 16 * scale, 0, 0, 640, 16);
    const { data } = context.getImageData(0, 4, 640, 8);
    if (data[3] === 0) return undefined;
    const bits = Array.from({ length: 20 }, (_, block) => {
      let sum = 0;
      for (let y = 0; y < 8; y++) {
        for (let x = block * 32 + 8; x < block * 32 + 24; x++) sum += data[(y * 640 + x) * 4 + 1];
      }
      return sum / 128 > 128 ? 1 : 0;
    });
    const number = bits.slice(2, 18).reduce((n, bit) => n * 2 + bit, 0);
    const ones = bits.slice(2, 18).reduce((n, bit) => n + bit, 0);
    return bits[0] && !bits[1] && !bits[19] && bits[18] === ones % 2 ? number : null;
  }

  function watch(video) {
    const { frames } = probe;
    const shown = (_now, { expectedDisplayTime }) => {
      const number = stampedNumber(video);
      const frame = { number, at: expectedDisplayTime, seen: performance.now() };
      video.requestVideoFrameCallback(shown);
      // A picture that is prepared behind the one on screen is seen by nobody.
      const front = document.querySelector('video[data-active]');
      if (number === undefined || (front && front !== video)) return;
      const before = frames.at(-1);
      const same = before?.number === number;
      // Another element that goes on with the same picture is no news.
      const other = probe.front !== video;
      probe.front = video;
      if (same && other) return;
      // A callback that ran when the next picture was up already saw that one in place of its own.
      if (same && before.seen > expectedDisplayTime - REFRESH) frames.pop();
      frames.push(frame);
    };
    video.requestVideoFrameCallback(shown);
  }

  // The page's video element, as soon as it has a stream.
  const seen = new WeakSet();
  setInterval(() => {
    for (const video of document.querySelectorAll('video')) {
      if (!video.srcObject || seen.has(video)) continue;
      seen.add(video);
      watch(video);
    }
  }, 10);

  const Connection = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Connection {
    constructor(...configuration) {
      super(...configuration);
      probe.connections.push(this);
      this.addEventListener('icecandidate', ({ candidate }) => {
        if (candidate?.candidate) probe.candidates.push(candidate.candidate);
      });
    }
  };

  // Begins to listen to what the video plays. A muted element is listened to all the same.
  // Samples are taken from the track itself, with their own time: a Web Audio graph would add the
  // delay of its buffers to every beep.
  probe.listen = () => {
    const video = document.querySelector('video[data-active]') ?? document.querySelector('video');
    const [track] = video.captureStream().getAudioTracks();
    hear(new MediaStreamTrackProcessor({ track }).readable.getReader());
  };

  async function hear(reader) {
    const { sound } = probe;
    // The track's clock against the page's: what was never waiting came over soonest.
    let behind = Infinity;
    let quiet = 0;
    for (;;) {
      const { value: data, done } = await reader.read();
      if (done) return;
      behind = Math.min(behind, performance.now() - data.timestamp / 1000);
      const samples = new Float32Array(data.numberOfFrames);
      data.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
      const start = data.timestamp / 1000 + behind;
      const { sampleRate } = data;
      data.close();
      samples.forEach((sample, i) => {
        const level = Math.abs(sample);
        sound.peak = Math.max(sound.peak, level);
        if (level <= 0.05) {
          quiet++;
          return;
        }
        const at = start + (i / sampleRate) * 1000;
        const begins = quiet >= sampleRate * 0.02 && at - (sound.beeps.at(-1) ?? -Infinity) > 500;
        if (begins) sound.beeps.push(at);
        quiet = 0;
      });
    }
  }
})();
