// A small studio: the stamp of tests/media/README.md drawn on a canvas, its beep, and WHIP.
window.studio = (() => {
  const canvas = document.createElement("canvas");
  canvas.width = 640;
  canvas.height = 360;
  const context = canvas.getContext("2d");
  const audio = new AudioContext();
  const tone = new OscillatorNode(audio, { frequency: 1000 });
  const volume = new GainNode(audio, { gain: 0 });
  const sink = audio.createMediaStreamDestination();
  tone.connect(volume).connect(sink);
  tone.start();
  let number = 0;
  setInterval(() => {
    number = (number + 1) % 300;
    context.fillStyle = `hsl(${number} 60% 40%)`;
    context.fillRect(0, 0, 640, 344);
    const bits = [1, 0];
    for (let bit = 15; bit >= 0; bit--) bits.push((number >> bit) & 1);
    bits.push(bits.slice(2).reduce((sum, bit) => sum + bit, 0) % 2, 0);
    bits.forEach((bit, block) => {
      context.fillStyle = bit ? "white" : "black";
      context.fillRect(block * 32, 344, 32, 16);
    });
    if (number % 30 === 0) {
      volume.gain.setValueAtTime(0.35, audio.currentTime);
      volume.gain.setValueAtTime(0, audio.currentTime + 0.06);
    }
  }, 1000 / 30);
  const picture = canvas.captureStream(30).getVideoTracks()[0];
  picture.contentHint = "detail";
  let connection, resource, authorization, tag;

  // `layers`: the names of layers of the picture, and by how much each is smaller; `mute`: no sound.
  const publish = async (url, token, codec, layers, mute) => {
    authorization = { Authorization: `Bearer ${token}` };
    connection = new RTCPeerConnection();
    const options = { direction: "sendonly" };
    if (!mute) connection.addTransceiver(sink.stream.getAudioTracks()[0], options);
    const sendEncodings = layers?.map(([rid, scaleResolutionDownBy]) => ({ rid, scaleResolutionDownBy }));
    const video = connection.addTransceiver(picture, layers ? { ...options, sendEncodings } : options);
    const known = RTCRtpSender.getCapabilities("video").codecs;
    video.setCodecPreferences(known.filter((known) => known.mimeType === `video/${codec}`));
    await connection.setLocalDescription();
    const answer = await fetch(url, {
      method: "POST",
      headers: { ...authorization, "Content-Type": "application/sdp" },
      body: connection.localDescription.sdp,
    });
    if (answer.status !== 201) return `${answer.status} ${await answer.text()}`;
    resource = new URL(answer.headers.get("Location"), url);
    tag = answer.headers.get("ETag");
    await connection.setRemoteDescription({ type: "answer", sdp: await answer.text() });
    for (let wait = 0; wait < 200 && connection.connectionState !== "connected"; wait++)
      await new Promise((resolve) => setTimeout(resolve, 50));
    return connection.connectionState;
  };

  const stop = async () => {
    const answer = await fetch(resource, { method: "DELETE", headers: authorization });
    connection.close();
    return answer.status;
  };

  const patch = (version, body) =>
    fetch(resource, {
      method: "PATCH",
      headers: {
        ...authorization,
        ...(version && { "If-Match": version }),
        "Content-Type": "application/trickle-ice-sdpfrag",
      },
      body,
    });

  const credentials = (sdp) => sdp.match(/a=ice-(ufrag|pwd):\S+/g).slice(0, 2);

  // The transport's name and address of this end.
  const path = async () => {
    const reports = await connection.getStats();
    const transport = [...reports.values()].find((report) => report.type === "transport");
    const pair = reports.get(transport.selectedCandidatePairId);
    const { port } = reports.get(pair.localCandidateId);
    return { name: transport.iceLocalUsernameFragment, port, state: pair.state };
  };

  // Restarts ICE as RFC 9725 section 4.3.3 says; what a client would see of it.
  const restart = async () => {
    const before = { ...(await path()), tag };
    connection.restartIce();
    await connection.setLocalDescription();
    const ours = credentials(connection.localDescription.sdp);
    const mid = connection.getTransceivers()[0].mid;
    const fragment = [...ours, "m=audio 9 UDP/TLS/RTP/SAVPF 0", `a=mid:${mid}`, ""].join("\r\n");
    const without = (await patch(null, fragment)).status;
    const stale = (await patch('"stale"', fragment)).status;
    const answer = await patch("*", fragment);
    const kind = answer.headers.get("Content-Type");
    tag = answer.headers.get("ETag");
    const theirs = await answer.text();
    // Sent once more, as if the answer had been lost.
    const again = await (await patch("*", fragment)).text();
    const candidates = theirs.match(/a=candidate:.*/g);
    let sdp = connection.remoteDescription.sdp.replace(/a=candidate:.*\r\n/g, "");
    const [name, password] = credentials(theirs);
    sdp = sdp.replace(/a=ice-ufrag:.*/g, name).replace(/a=ice-pwd:.*/g, password);
    sdp = sdp.replace(/(a=mid:.*\r\n)/, `$1${candidates.join("\r\n")}\r\n`);
    await connection.setRemoteDescription({ type: "answer", sdp });
    let after = before;
    for (let wait = 0; wait < 200 && after.port === before.port; wait++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      after = { ...(await path()), tag };
    }
    const late = [...ours, "m=audio 9 UDP/TLS/RTP/SAVPF 0", `a=mid:${mid}`, ""].join("\r\n");
    const old = (await patch(before.tag, late)).status;
    const trickled = (await patch(tag, late)).status;
    const statuses = [without, stale, answer.status, old, trickled];
    return { statuses, kind, repeated: again === theirs, before, after };
  };

  const estimate = async () => {
    for (const report of (await connection.getStats()).values())
      if (report.type === "candidate-pair" && report.availableOutgoingBitrate)
        return report.availableOutgoingBitrate;
    return 0;
  };

  return { publish, stop, restart, estimate };
})();
true;
