"""The picture of docs/performance.md: what a page of twenty rooms costs, on a logarithmic scale."""

from __future__ import annotations

import math

SHOWN = {
    "Synapse, page": ("Synapse", "#c8553d"),
    "base tables, page": ("plain SQL, base tables", "#e3a99c"),
    "simple SQL, page": ("simple SQL, derived tables", "#8f8f8f"),
    "room_list, page": ("room_list()", "#2d6a8f"),
}
WIDTH, LEFT, BAR, GAP, TOP = 720, 110, 14, 18, 66


def draw(results: dict[str, dict[str, float]]) -> str:
    values = [found[way] for found in results.values() for way in SHOWN if way in found]
    least, most = min(values) / 2, max(values)
    scale = (WIDTH - LEFT - 90) / math.log10(most / least)
    lines, y = [], TOP
    for x, (title, colour) in zip((LEFT, LEFT + 90, LEFT + 260, LEFT + 450), SHOWN.values()):
        lines.append(f'<rect x="{x}" y="34" width="10" height="10" fill="{colour}"/><text x="{x + 15}" y="43">{title}</text>')
    for rooms, found in results.items():
        bars = [(found[way], colour) for way, (_, colour) in SHOWN.items() if way in found]
        lines.append(f'<text x="{LEFT - 10}" y="{y + len(bars) * BAR / 2 + 4}" text-anchor="end">{rooms} rooms</text>')
        for value, colour in bars:
            long = math.log10(value / least) * scale
            lines.append(f'<rect x="{LEFT}" y="{y}" width="{long:.1f}" height="{BAR - 2}" fill="{colour}"/>')
            lines.append(f'<text x="{LEFT + long + 5:.1f}" y="{y + BAR - 4}">{value:.3g} ms</text>')
            y += BAR
        y += GAP
    title = '<text x="10" y="20" font-weight="bold">A page of 20 rooms, processor time, logarithmic</text>'
    style = 'font-family="sans-serif" font-size="12"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" {style}>'
        f'<rect width="{WIDTH}" height="{y}" fill="white"/>{title}' + "\n".join(lines) + "</svg>"
    )
