"""What a delivered file really is, by its own bytes and by ffprobe; never by what the answer says of it."""

import json
import struct
import subprocess
import urllib.request
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from kit.report import ensure, expect

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# How far a shape may be from the one asked for: encoders want sizes in multiples of 16 or 32.
SHAPE_TOLERANCE = 0.02
DURATION_TOLERANCE_SECONDS = 0.1


@dataclass
class Video:
    """What ffprobe finds in a file after decoding all of it."""

    codec: str
    width: int
    height: int
    seconds: float
    frames: int
    frames_promised: int
    frames_per_second: Fraction


def download(url: str) -> tuple[bytes, str]:
    """A file and its media type; the link must need nothing but itself."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read(), answer.headers["Content-Type"]


def png_size(file: bytes) -> tuple[int, int]:
    """Width and height by the header (PNG §11.2.2)."""
    ensure(file.startswith(PNG_SIGNATURE), f"not a PNG: begins with {file[:8]!r}")
    expect(file[12:16], b"IHDR", "first chunk")
    return struct.unpack(">II", file[16:24])


def probe(path: Path) -> dict:
    """ffprobe's account of a file, every frame of it decoded; anything it complains of is a failure."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    expect((done.returncode, done.stderr), (0, ""), f"ffprobe of {path.name}")
    return json.loads(done.stdout)


def video(path: Path) -> Video:
    """The one video stream of a file."""
    found = probe(path)
    streams = [stream for stream in found["streams"] if stream["codec_type"] == "video"]
    expect(len(streams), 1, "video streams")
    stream = streams[0]
    return Video(
        codec=stream["codec_name"],
        width=stream["width"],
        height=stream["height"],
        seconds=float(found["format"]["duration"]),
        frames=int(stream["nb_read_frames"]),
        frames_promised=int(stream["nb_frames"]),
        frames_per_second=Fraction(stream["avg_frame_rate"]),
    )


def shaped(width: int, height: int, across: int, down: int) -> None:
    """Fails unless the size has about that shape."""
    found, asked = width / height, across / down
    ensure(abs(found / asked - 1) <= SHAPE_TOLERANCE, f"{width}x{height} is {found:.3f}, {across}:{down} is {asked:.3f}")
