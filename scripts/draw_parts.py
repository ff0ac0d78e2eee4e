"""Draw the parts of a federation, docs/images/parts.svg.

python scripts/draw_parts.py
"""

from pathlib import Path

WIDTH, HEIGHT = 860, 440
OUT = Path(__file__).parents[1] / "docs" / "images" / "parts.svg"

BOXES = [  # x, y, width, height, title, lines, colour
    (20, 40, 190, 84, "clinic 1", ["trains on /data (read-only)", "own key, own cache"], "#e8f1fb"),
    (20, 148, 190, 84, "clinic 2", ["only updates and sums", "leave"], "#e8f1fb"),
    (20, 256, 190, 84, "clinic 3", ["..."], "#e8f1fb"),
    (
        330,
        128,
        150,
        124,
        "gateway",
        ["TLS, port 8443", "Fleet API, joining,", "weights on signed", "URLs; nothing else"],
        "#fdf1dc",
    ),
    (550, 60, 280, 84, "superlink", ["Flower: keys, presence, messages", "disposable state"], "#e9f5e6"),
    (
        550,
        180,
        280,
        150,
        "server",
        [
            "round loop, gate, aggregation",
            "checkpoints, audit log, enrolment",
            "control API (embryofl-server)",
            "state: /hub",
        ],
        "#e9f5e6",
    ),
    (550, 352, 280, 64, "signer", ["key of the authority that clinics trust"], "#e9f5e6"),
    (330, 262, 180, 78, "console", ["the coordinator's pages;", "for this machine only"], "#f3e9f7"),
    (330, 346, 180, 78, "monitoring", ["Prometheus, Grafana;", "for this machine only"], "#f3e9f7"),
]
ARROWS = [
    ((510, 300), (550, 290)),
    ((510, 372), (550, 318)),
    ((210, 82), (330, 170)),
    ((210, 190), (330, 190)),
    ((210, 298), (330, 210)),
    ((480, 170), (550, 102)),
    ((480, 210), (550, 245)),
    ((690, 180), (690, 144)),
    ((690, 330), (690, 352)),
]


def main() -> None:
    """Write the SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" role="img">',
        "<title>Clinics connect by TLS to the gateway; behind it, in the hub, are SuperLink, server, signer, console and monitoring</title>",
        '<defs><marker id="a" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#444"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        '<rect x="312" y="20" width="534" height="412" rx="10" fill="none" stroke="#888" stroke-dasharray="6 4"/>',
        '<text x="326" y="42" font-size="14" fill="#555">hub (compose.yaml)</text>',
    ]
    for x, y, w, h, title, lines, colour in BOXES:
        parts.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" fill="{colour}" stroke="#444"/>')
        parts.append(f'<text x="{x + 12}" y="{y + 24}" font-size="16" font-weight="bold">{title}</text>')
        for i, line in enumerate(lines):
            parts.append(f'<text x="{x + 12}" y="{y + 46 + 20 * i}" font-size="13">{line}</text>')
    for (x1, y1), (x2, y2) in ARROWS:
        parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#444" stroke-width="1.6" marker-end="url(#a)"/>'
        )
    parts.append('<text x="215" y="180" font-size="12" fill="#555">TLS, own key</text></svg>')
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
