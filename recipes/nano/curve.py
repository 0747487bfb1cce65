#!/usr/bin/env python3
"""Draws the losses of training runs, one behind the other, as SVG on standard output.

    recipes/nano/curve.py target/nano/text-to-image/log.jsonl target/nano/all-tasks/log.jsonl > curve.svg
"""

import json
import math
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 840, 400, 44, 64, 34, 40
COLOURS = {
    "i2v": "#0f766e", "t2i": "#b45309", "t2t": "#6b7280", "t2v": "#1d4ed8", "ti2v": "#be185d", "tv2v": "#7c3aed", "v2v": "#15803d",
}
# Weight of a new value in the running mean of its task.
WEIGHT = 0.1


def main(paths):
    curves, begins, done = {}, [], 0
    for path in paths:
        begins.append(done)
        means, step = {}, 0
        for line in open(path, encoding="utf-8"):
            entry = json.loads(line)
            if entry["event"] != "step":
                continue
            step, (task,) = entry["step"], entry["tasks"]
            means[task] = (1 - WEIGHT) * means.get(task, entry["loss"]) + WEIGHT * entry["loss"]
            curves.setdefault(task, {}).setdefault(path, []).append((done + step, means[task]))
        done += step

    top = math.ceil(max(loss for runs in curves.values() for run in runs.values() for _, loss in run))
    x = lambda step: LEFT + (WIDTH - LEFT - RIGHT) * step / done
    y = lambda loss: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * loss / top
    text = lambda px, py, what, more="": f'<text x="{px:.1f}" y="{py:.1f}" {more}>{what}</text>'
    line = lambda x1, y1, x2, y2: f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#d1d5db"/>'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#374151">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        text(LEFT, 20, "Contrastive loss of each task (running mean)", 'font-size="14"'),
    ]
    for loss in range(top + 1):
        out += [line(LEFT, y(loss), WIDTH - RIGHT, y(loss)), text(LEFT - 8, y(loss) + 4, loss, 'text-anchor="end"')]
    for step in range(0, done + 1, 500):
        out.append(text(x(step), HEIGHT - 18, step, 'text-anchor="middle"'))
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 3, "step", 'text-anchor="middle"'))
    out += [line(x(begin), TOP, x(begin), HEIGHT - BOTTOM) for begin in begins]
    # Names at the right end, moved apart where they would overlap.
    ends = sorted((y(list(runs.values())[-1][-1][1]), task) for task, runs in curves.items())
    last = -math.inf
    for place, task in ends:
        last = max(place, last + 14)
        out.append(text(WIDTH - RIGHT + 8, last + 4, task, f'fill="{COLOURS[task]}"'))
    for task, runs in sorted(curves.items()):
        for run in runs.values():
            path = "L".join(f"{x(step):.1f} {y(loss):.1f}" for step, loss in run)
            out.append(f'<path d="M{path}" fill="none" stroke="{COLOURS[task]}" stroke-width="1.5"/>')
    print("\n".join([*out, "</svg>"]))


main(sys.argv[1:])
