"""A flame graph that stands alone: as SVG, and as a page with its table. No script is in them, and every name is escaped. Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html import escape

from clusterstate.stacks import Samples
from webapp.flame.asking import AskedFlame
from webapp.flame.drawing import ROW_PX, Box, Drawing, Pen, place_of
from webapp.flame.palette import FAINT, GROUND, INK, fill_of
from webapp.flame.table import MOST_SHOWN, functions, ordered
from webapp.flame.tree import grow
from webapp.flame.units import amount, part, short, word
from webapp.formatting import shortened, visible

WIDTH_PX = 1200
HEAD_PX = 28
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
CHARACTER_PX = 7
NARROWEST_NAMED_PX = 14
STYLE = (
    f"body{{margin:16px;font:14px/1.4 {FONT};color:{INK};background:{GROUND}}}"
    "svg{width:100%;height:auto}table{border-collapse:collapse;margin-top:16px}td,th{padding:3px 10px;text-align:left;"
    "border-bottom:1px solid #d9dde5;overflow-wrap:anywhere}.n{text-align:right;white-space:nowrap}"
)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def svg(samples: Samples, asked: AskedFlame, title: str) -> bytes:
    """The picture that the page shows, of a fixed width."""
    return _svg(samples, asked, title).encode("utf-8", "replace")


def html(samples: Samples, asked: AskedFlame, title: str) -> bytes:
    """A page that needs nothing else, and may load or run nothing."""
    style = b64encode(sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    name = _text(visible(title))
    whole = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{name}</title><style>{STYLE}</style></head>'
        f"<body><h1>{name}</h1>{_svg(samples, asked, title)}{_table(samples, asked)}</body></html>\n"
    )
    return whole.encode("utf-8", "replace")


def _svg(samples: Samples, asked: AskedFlame, title: str) -> str:
    tree = grow(samples, asked.shape)
    drawing = Pen(tree, samples.unit, tree.find(asked.at) or 0, asked.upwards).draw()
    head = f"{shortened(title, 100)}: {amount(tree.total[0], samples.unit)}"
    if drawing.hidden:
        head += f", {drawing.hidden} frames too small to draw"
    return _drawn(drawing, head)


def _drawn(drawing: Drawing, head: str) -> str:
    height = drawing.height + HEAD_PX
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_PX}" height="{height}" viewBox="0 0 {WIDTH_PX} {height}" '
        f'font-family="{_text(FONT)}" font-size="12" fill="{INK}"><rect width="{WIDTH_PX}" height="{height}" fill="{GROUND}"/>'
        f'<text x="4" y="18" fill="{FAINT}">{_text(head)}</text>{"".join(map(_box, drawing.boxes))}</svg>'
    )


def _box(box: Box) -> str:
    x, width, y = box.x * WIDTH_PX, box.width * WIDTH_PX, box.y + HEAD_PX
    faint = ' opacity="0.6"' if " above" in box.look else ""
    stroke = f' stroke="{GROUND}"' if width > 2 else ""
    rect = f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{ROW_PX - 1}" fill="{fill_of(box.look)}"{stroke}/>'
    name = ""
    if width >= NARROWEST_NAMED_PX:
        whole = f"{box.name} {box.place}" if box.has_place else box.name
        name = f'<text x="{x + 4:.2f}" y="{y + 14}">{_text(shortened(whole, max(2, int((width - 6) / CHARACTER_PX))))}</text>'
    return f"<g{faint}><title>{_text(box.title)}</title>{rect}{name}</g>"


def _table(samples: Samples, asked: AskedFlame) -> str:
    tally = functions(samples, asked.thread)
    unit = word(2, samples.unit)
    rows = "".join(
        f"<tr><td>{_text(shortened(row.label.name, 300) or '(no name)')}</td><td>{_text(place_of(row.label) or '–')}</td>"
        f'<td class="n">{short(row.own, samples.unit)}</td><td class="n">{_text(part(row.own, tally.total))}</td>'
        f'<td class="n">{short(row.total, samples.unit)}</td><td class="n">{_text(part(row.total, tally.total))}</td></tr>'
        for row in ordered(tally.rows, "-own")[:MOST_SHOWN]
    )
    left = len(tally.rows) - MOST_SHOWN
    more = f"<p>and {left} more functions</p>" if left > 0 else ""
    heads = f'<th>Function</th><th>File</th><th class="n" colspan="2">Self {unit}</th><th class="n" colspan="2">Total {unit}</th>'
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{more}"


def _text(text: str) -> str:
    """For the text of an element or an attribute, in HTML as in XML 1.0."""
    return escape(_NOT_XML.sub("", text))
