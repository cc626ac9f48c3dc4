#!/usr/bin/env python3
"""Publishes an MP4 file through WHIP as it is, again and again, with the libraries of ffmpeg 8.

  ffmpeg_8.py FILE URL TOKEN

As `ffmpeg -re -stream_loop -1 -i FILE -c copy -f whip -authorization TOKEN URL` does it. PyPI has no
program of that version, but its libraries: PyAV's wheels carry them (pip install av==18.1.0).
"""

import sys
import time

import av

LIBAVFORMAT_OF_FFMPEG_8 = 62


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__.strip())
    file, url, token = sys.argv[1:]
    if av.library_versions["libavformat"][0] != LIBAVFORMAT_OF_FFMPEG_8:
        sys.exit(f"these are not the libraries of ffmpeg 8: {av.library_versions}")
    av.logging.set_level(av.logging.WARNING)
    out = av.open(url, "w", format="whip", options={"authorization": token})
    source = av.open(file)
    video, audio = source.streams.video[0], source.streams.audio[0]
    copies = {stream.index: out.add_stream_from_template(stream) for stream in (video, audio)}
    # Seconds of the whole file: its sound is as long as its picture.
    length = video.frames / video.average_rate
    begin, played = time.monotonic(), 0
    while True:
        for packet in source.demux(video, audio):
            if packet.dts is None:
                continue
            shift = round(played / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            wait = begin + float(packet.dts * packet.time_base) - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            packet.stream = copies[packet.stream.index]
            out.mux(packet)
        played += length
        source.seek(0)


if __name__ == "__main__":
    main()
