#!/usr/bin/env python3
"""Time sampling 8 uniform frames of a clip with gve beside torchcodec (exact mode) and PyAV, in one run.

    python benchmark/peers/decode.py            # two 720p H.264 clips made by the ffmpeg command
    python benchmark/peers/decode.py CLIP...    # other clips

Needs torch, torchcodec and av, and Linux for the processor times. Each run goes from opening the file to the last RGB
pixel. The sides take turns within each round, so that a busy machine hurts all alike. The Markdown table shows the
fastest and the median run of each side, its least processor time, and what gve with as many threads takes of both
minima: below 1, gve is faster. All sides must come to the same pictures, or the run fails.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import av
import torch
import torchcodec
from torchcodec.decoders import VideoDecoder

from worker import build_worker

FRAMES = 8
# How far, of 255, the means of the same picture may lie apart.
SAME_MEAN = 1.0
# Frames between key frames, frames in all.
CLIPS = {"gop_50": (50, 528), "one_gop": (9999, 264)}


def make_clip(directory, name):
    gop, frames = CLIPS[name]
    path = Path(directory) / f"{name}.mp4"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25", "-frames:v", frames]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-g", gop, "-keyint_min", gop, "-sc_threshold", 0]
    command += ["-pix_fmt", "yuv420p", path]
    subprocess.run([str(part) for part in command], check=True)
    return path


def uniform(total):
    frames = min(FRAMES, total)
    return [round(i * (total - 1) / max(frames - 1, 1)) for i in range(frames)]


def process_seconds(pid):
    """Processor time of all threads of a process: Linux makes the id of its clock from that of the process."""
    return time.clock_gettime((~pid << 3) | 2)


class Gve:
    def __init__(self, worker, clip, threads, indices):
        command = [str(part) for part in (worker, "--worker", clip, threads, *indices)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self.means = json.loads(self.process.stdout.readline())

    def seconds(self):
        print(file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self):
        self.process.communicate()


class Peer:
    def __init__(self, decode, clip, threads, indices):
        self.decode = lambda: decode(str(clip), threads, indices)
        self.pid = os.getpid()
        self.means = [float(frame.float().mean()) for frame in self.decode()]

    def seconds(self):
        start = time.perf_counter()
        frames = self.decode()
        seconds = time.perf_counter() - start
        del frames
        return seconds

    def close(self):
        pass


def decode_torchcodec(clip, threads, indices):
    decoder = VideoDecoder(clip, seek_mode="exact", num_ffmpeg_threads=threads)
    return decoder.get_frames_at(indices).data


def decode_pyav(clip, threads, indices):
    """Reads all packets for their times, then seeks and decodes forward to each frame."""
    frames = []
    with av.open(clip) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        times = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        for index in indices:
            container.seek(times[index], stream=stream)
            found = next(frame for frame in container.decode(stream) if frame.pts >= times[index])
            frames.append(torch.from_numpy(found.to_ndarray(format="rgb24")))
    return frames


def measure(sides, rounds):
    """Wall and processor seconds of each side's runs."""
    wall, cpu = ({key: [] for key in sides} for _ in range(2))
    for _ in range(rounds):
        for key, side in sides.items():
            before = process_seconds(side.pid)
            wall[key].append(side.seconds())
            cpu[key].append(process_seconds(side.pid) - before)
    return wall, cpu


def check_means(sides):
    (first, expected), *others = ((key, side.means) for key, side in sides.items())
    for key, means in others:
        apart = max(abs(a - b) for a, b in zip(expected, means, strict=True))
        if apart > SAME_MEAN:
            raise SystemExit(f"{key} and {first} decode different pictures: means are {apart:.2f} apart")


def run_clip(worker, clip, all_threads, rounds):
    indices = uniform(VideoDecoder(str(clip), seek_mode="exact").metadata.num_frames)
    sides = {}
    for threads in all_threads:
        sides["gve", threads] = Gve(worker, clip, threads, indices)
        sides["torchcodec", threads] = Peer(decode_torchcodec, clip, threads, indices)
        sides["PyAV", threads] = Peer(decode_pyav, clip, threads, indices)
    check_means(sides)
    wall, cpu = measure(sides, rounds)
    for (name, threads), seconds in wall.items():
        ours, key = ("gve", threads), (name, threads)
        ratios = f"{min(wall[ours]) / min(seconds):.2f} | {min(cpu[ours]) / min(cpu[key]):.2f}"
        milliseconds = (1e3 * value for value in (min(seconds), statistics.median(seconds), min(cpu[key])))
        times = " | ".join(f"{value:.0f}" for value in milliseconds)
        print(f"| {clip.stem} | {name} | {threads} | {times} | {ratios} |", flush=True)
    for side in sides.values():
        side.close()


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count()}))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--profile", help="Cargo profile to build with (default: bench)")
    arguments = parser.parse_args()

    worker = build_worker("decode_peer", arguments.profile)
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; ", end="")
    print(f"torchcodec {torchcodec.__version__}, PyAV {av.__version__}; best of {arguments.rounds}\n")
    print("| clip | library | threads | wall ms | median | CPU ms | gve / it, wall | gve / it, CPU |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as directory:
        for clip in arguments.clips or (make_clip(directory, name) for name in CLIPS):
            run_clip(worker, clip, arguments.threads, arguments.rounds)


if __name__ == "__main__":
    main()
