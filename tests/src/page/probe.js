// Runs in the watch page before the page's own scripts, and notes what its viewer sees and hears.
// How to read stamp, flash and beep: tests/media/README.md.
(() => {
  const probe = { frames: [], sound: { peak: 0, beeps: [] }, candidates: [], connections: [] };
  window.probe = probe;

  const canvas = document.createElement('canvas');
  canvas.width = 640;
  canvas.height = 16;
  const context = canvas.getContext('2d', { willReadFrequently: true });

  function stampedNumber(video) {
    const scale = video.videoHeight / 360;
    context.drawImage(video, 0, 344 * scale, video.videoWidth, 16 * scale, 0, 0, 640, 16);
    const { data } = context.getImageData(0, 4, 640, 8);
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
    const shown = (_now, { expectedDisplayTime }) => {
      probe.frames.push({ number: stampedNumber(video), at: expectedDisplayTime });
      video.requestVideoFrameCallback(shown);
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
  probe.listen = () => {
    const video = document.querySelector('video[data-active]') ?? document.querySelector('video');
    const audio = new AudioContext();
    const analyser = audio.createAnalyser();
    analyser.fftSize = 8192;
    audio.createMediaStreamSource(video.captureStream()).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const quietBefore = Math.round(audio.sampleRate * 0.02);
    setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const now = performance.now();
      let quiet = 0;
      for (let i = 0; i < samples.length; i++) {
        const level = Math.abs(samples[i]);
        probe.sound.peak = Math.max(probe.sound.peak, level);
        if (level > 0.05) {
          if (quiet >= quietBefore) {
            const at = now - ((samples.length - i) / audio.sampleRate) * 1000;
            const last = probe.sound.beeps.at(-1) ?? -Infinity;
            if (at - last > 500) probe.sound.beeps.push(at);
          }
          quiet = 0;
        } else {
          quiet++;
        }
      }
    }, 20);
    return audio.state;
  };
})();
