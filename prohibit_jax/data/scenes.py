"""Drawings of the things that people sell: what the generated listing photographs of `synthetic:` are made of.

A thing is a list of filled polygons in the unit square, x to the right and y down, every number jittered by the random
generator `r`. Polygons are complex arrays, x + iy, so that turning and moving one is a multiplication and a sum.
Prohibited things come with look-alikes: what tells them apart is a detail, not the silhouette or the colour alone.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from random import Random

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.complex128]
Colour = tuple[int, ...]
"""RGB, or RGB and opacity, 0 to 255."""
Thing = list[tuple[Points, Colour]]
"""Polygons with their colours, the lowest first."""
Drawing = Callable[[Random], Thing]

CIRCLE: Points = np.exp(2j * np.pi * np.arange(20) / 20)

# Shapes


def path(*xy: float) -> Points:
    """The polygon or line through x0, y0, x1, y1 and so on."""
    flat = np.array(xy, np.float64)
    return flat[0::2] + 1j * flat[1::2]


def box(x0: float, y0: float, x1: float, y1: float, corner: float = 0.0) -> Points:
    """A rectangle, its corners rounded with radius `corner`."""
    if not corner:
        return path(x0, y0, x1, y0, x1, y1, x0, y1)
    left, top, right, bottom = x0 + corner, y0 + corner, x1 - corner, y1 - corner
    centres = path(right, bottom, left, bottom, left, top, right, top)
    return np.concatenate([centre + corner * CIRCLE[5 * k : 5 * k + 5] for k, centre in enumerate(centres)])


def oval(x: float, y: float, rx: float, ry: float | None = None) -> Points:
    """An ellipse, a circle without `ry`."""
    return complex(x, y) + CIRCLE.real * rx + 1j * CIRCLE.imag * (rx if ry is None else ry)


def stroke(line: Points, width: float, end: float | None = None) -> Points:
    """The outline of a line drawn with a pen, whose width goes from `width` to `end`."""
    along = np.gradient(line)
    half = 0.5j * along / np.maximum(np.abs(along), 1e-9) * np.linspace(width, width if end is None else end, len(line))
    return np.concatenate([line + half, (line - half)[::-1]])


def ring(outline: Points, width: float) -> Points:
    """A closed outline drawn with a pen."""
    return stroke(np.append(outline, outline[:2]), width)


def smooth(outline: Points) -> Points:
    """A polygon with its corners cut twice (Chaikin 1974), which makes a curve of it."""
    for _ in range(2):
        following = np.roll(outline, -1)
        outline = np.stack([0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following], 1).ravel()
    return outline


def turned(*profile: float) -> Points:
    """What a lathe makes: the silhouette around x = 0.5 of half widths given as y0, half0, y1, half1 and so on."""
    y, half = np.array(profile[0::2]), np.array(profile[1::2])
    return np.concatenate([0.5 + half + 1j * y, (0.5 - half + 1j * y)[::-1]])


def moved(thing: Thing, turn: float = 0.0, scale: float = 1.0, x: float = 0.0, y: float = 0.0) -> Thing:
    """The thing turned by `turn` radians and scaled around its middle, then shifted."""
    factor, middle = scale * complex(np.cos(turn), np.sin(turn)), 0.5 + 0.5j
    return [((points - middle) * factor + middle + complex(x, y), colour) for points, colour in thing]


def mirrored(thing: Thing) -> Thing:
    """The thing with left and right swapped."""
    return [(1 - points.conj(), colour) for points, colour in thing]


def text(r: Random, x0: float, y0: float, x1: float, y1: float, rows: int, colour: Colour) -> Thing:
    """Rows of bars in a rectangle, which read as print from afar."""
    step = (y1 - y0) / rows
    tops = [y0 + step * row for row in range(rows)]
    return [(box(x0, top, x0 + (x1 - x0) * r.uniform(0.4, 1), top + 0.5 * step), colour) for top in tops]


# Colours


def paint(r: Random, saturation: float = 0.6, value: float = 0.6, spread: float = 0.3) -> Colour:
    """Any hue, around a saturation and a value."""

    def near(x: float) -> float:
        return min(max(x + r.uniform(-spread, spread), 0.05), 0.97)

    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(r.random(), near(saturation), near(value)))


def lit(colour: Colour, factor: float, opacity: int = 255) -> Colour:
    """The colour made darker (factor below 1) or lighter (above 1)."""
    scaled = (part * factor if factor < 1 else 255 - (255 - part) / factor for part in colour[:3])
    return (*(round(part) for part in scaled), opacity)


def grey(r: Random, low: int, high: int) -> Colour:
    """A grey between two levels with a slight cast."""
    level = r.randint(low, high)
    return level, min(level + r.randint(-4, 4), 255), min(level + r.randint(-4, 10), 255)


def wooden(r: Random) -> Colour:
    """The brown of a handle or a stock."""
    level = r.uniform(0.5, 1.3)
    return round(140 * level), round(88 * level), round(48 * level)


def metal(r: Random) -> Colour:
    """Black, gunmetal or bright steel."""
    return grey(r, *r.choice(((18, 45), (18, 45), (55, 95), (140, 195))))


def casing(r: Random) -> Colour:
    """A tool's plastic: mostly bright, often as dark as a gun."""
    return metal(r) if r.random() < 0.4 else paint(r, 0.8, 0.75, 0.2)


WHITE, BLACK = (240, 240, 236), (22, 22, 24)
GLINT = (255, 255, 255, 90)
DUSK = (0, 0, 0, 70)
PAPER = ((246, 244, 236), (232, 228, 214), (250, 250, 250))

# Prohibited things


def pistol(r: Random) -> Thing:
    """A self-loading pistol: slide with serrations, trigger in its guard, raked grip. Drills share the outline."""
    body, grip = metal(r), r.choice((wooden(r), grey(r, 20, 60), metal(r)))
    nose, top, deep, rake = r.uniform(0, 0.14), r.uniform(0.24, 0.3), r.uniform(0.13, 0.18), r.uniform(0.02, 0.12)
    low = top + deep
    thing: Thing = [
        (ring(oval(0.54, low + 0.1, 0.09, 0.075), 0.025), lit(body, 0.8)),
        (stroke(path(0.56, low + 0.03, 0.53, low + 0.08, 0.54, low + 0.13), 0.025), lit(body, 0.6)),
        (path(0.6, low, 0.86, low - 0.03, 0.86 + rake, 0.86, 0.66 + rake, 0.9), lit(body, 0.85)),
        (smooth(path(0.64, low + 0.07, 0.83, low + 0.06, 0.84 + rake, 0.82, 0.69 + rake, 0.85)), grip),
        (
            path(nose + 0.05, low - 0.02, 0.88, low - 0.02, 0.9, low + 0.03, 0.5, low + 0.06, nose + 0.05, low + 0.05),
            body,
        ),
        (box(nose, top, 0.9, low, 0.02), lit(body, 1.15)),
        (box(nose, top, 0.9, top + 0.025), lit(body, 1.6)),
        (box(0.4, top + 0.03, 0.55, top + 0.075), lit(body, 0.5)),
        (box(nose + 0.03, top - 0.025, nose + 0.06, top), body),
        (box(0.83, top - 0.025, 0.87, top), body),
    ]
    thing += [(box(x, top + 0.02, x + 0.01, low - 0.02), lit(body, 0.6)) for x in np.arange(0.7, 0.86, 0.03)]
    return thing


def revolver(r: Random) -> Thing:
    """A revolver: thin barrel, fluted cylinder, hammer, curved grip, mostly of wood."""
    body, grip = metal(r), r.choice((wooden(r), wooden(r), BLACK))
    nose, top, width = r.uniform(0, 0.2), r.uniform(0.26, 0.32), r.uniform(0.07, 0.1)
    drum = oval(0.56, top + 0.09, r.uniform(0.09, 0.11), 0.1)
    thing: Thing = [
        (ring(oval(0.58, top + 0.26, 0.08, 0.07), 0.025), body),
        (stroke(path(0.6, top + 0.19, 0.57, top + 0.24, 0.58, top + 0.29), 0.022), lit(body, 0.6)),
        (smooth(path(0.66, top + 0.1, 0.8, top + 0.06, 0.9, top + 0.3, 1.0, 0.88, 0.8, 0.92, 0.72, top + 0.3)), grip),
        (path(0.44, top, 0.76, top, 0.8, top + 0.14, 0.72, top + 0.2, 0.44, top + 0.2), lit(body, 0.85)),
        (stroke(path(0.76, top + 0.06, 0.82, top + 0.02, 0.83, top - 0.06), 0.05, 0.025), body),
        (box(nose, top, 0.5, top + width), body),
        (box(nose, top, 0.5, top + 0.02), lit(body, 1.6)),
        (path(nose + 0.02, top, nose + 0.04, top - 0.04, nose + 0.1, top), body),
        (drum, lit(body, 1.2)),
    ]
    thing += [(oval(0.56, top + y, 0.06, 0.012), lit(body, 0.55)) for y in (0.04, 0.09, 0.14)]
    return thing


def rifle(r: Random) -> Thing:
    """A long gun: barrel, receiver, stock, often a magazine and a sight."""
    body, wood = metal(r), r.choice((wooden(r), grey(r, 20, 60)))
    y, drop = r.uniform(0.42, 0.5), r.uniform(0.05, 0.12)
    thing: Thing = [
        (box(0.0, y, 0.5, y + 0.03), body),
        (path(0.02, y - 0.025, 0.035, y - 0.025, 0.035, y, 0.02, y), body),
        (path(0.66, y + 0.01, 1.0, y + drop, 1.0, y + drop + 0.12, 0.8, y + 0.1, 0.66, y + 0.09), wood),
        (path(0.62, y + 0.06, 0.7, y + 0.06, 0.74, y + 0.22, 0.66, y + 0.22), wood),
        (ring(oval(0.59, y + 0.115, 0.045, 0.035), 0.015), body),
        (box(0.2, y + 0.005, 0.46, y + 0.06, 0.02), wood),
        (box(0.4, y - 0.01, 0.69, y + 0.08, 0.02), lit(body, 1.15)),
        (box(0.4, y - 0.01, 0.69, y + 0.005), lit(body, 1.6)),
    ]
    if r.random() < 0.6:
        magazine = stroke(path(0.5, y + 0.07, 0.49, y + 0.15, r.uniform(0.42, 0.49), y + 0.25), 0.08, 0.07)
        thing.insert(0, (magazine, lit(body, 0.8)))
    if r.random() < 0.5:
        thing += [(box(0.44, y - 0.08, 0.66, y - 0.03, 0.02), body), (box(0.5, y - 0.05, 0.53, y), body)]
    return thing


def kitchen_knife(r: Random) -> Thing:
    """A cook's knife: straight spine, curved edge with a pale bevel, riveted handle."""
    steel, grip = grey(r, 150, 225), r.choice((wooden(r), BLACK, paint(r)))
    wide, tip, bend = r.uniform(0.1, 0.22), r.uniform(0, 0.08), r.uniform(-0.02, 0.06)
    edge = path(0.62, 0.44 + wide, 0.35, 0.44 + wide, 0.15, 0.44 + 0.75 * wide, tip, 0.44 + bend)
    thing: Thing = [
        (np.append(path(0.25, 0.43, 0.62, 0.43), edge), steel),
        (stroke(edge + 0.01 - 0.01j, 0.02, 0.01), lit(steel, 1.7)),
        (path(0.62, 0.43, 0.65, 0.43, 0.65, 0.5, 0.62, 0.44 + wide), lit(steel, 0.7)),
        (smooth(path(0.64, 0.425, 0.97, 0.42, 1.0, 0.53, 0.92, 0.53, 0.8, 0.505, 0.64, 0.52)), grip),
    ]
    return thing + [(oval(x, 0.47, 0.011), lit(steel, 0.9)) for x in (0.7, 0.8, 0.9)]


def dagger(r: Random) -> Thing:
    """A fighting or hunting knife: pointed blade with a groove, cross guard, wrapped grip."""
    steel, grip = grey(r, 120, 225), r.choice((wooden(r), BLACK, grey(r, 30, 70), paint(r, 0.5, 0.35)))
    wide, both = r.uniform(0.05, 0.085), r.choice((0.1, 1.0))
    thing: Thing = [
        (path(0.0, 0.5, 0.16, 0.5 - both * wide, 0.6, 0.5 - wide, 0.6, 0.5 + wide, 0.16, 0.5 + wide), steel),
        (path(0.0, 0.5, 0.6, 0.5, 0.6, 0.5 + wide, 0.16, 0.5 + wide), lit(steel, 1.5)),
        (stroke(path(0.2, 0.49, 0.4, 0.485, 0.58, 0.49), 0.015), lit(steel, 0.6)),
        (box(0.59, 0.4, 0.635, 0.6, 0.015), lit(steel, 0.7)),
        (box(0.63, 0.45, 0.95, 0.55, 0.04), grip),
        (oval(0.965, 0.5, 0.035, 0.05), lit(steel, 0.7)),
    ]
    return thing + [
        (stroke(path(x, 0.455, x + 0.02, 0.545), 0.012), lit(grip, 0.6)) for x in np.arange(0.67, 0.92, 0.05)
    ]


def pocket_knife(r: Random) -> Thing:
    """A folding knife, half or wholly open: blade with a thumb hole, handle with a pivot."""
    steel, grip = grey(r, 110, 220), r.choice((wooden(r), BLACK, paint(r, 0.8), metal(r)))
    blade: Thing = [
        (path(0.08, 0.52, 0.2, 0.46, 0.5, 0.45, 0.52, 0.55, 0.3, 0.57), steel),
        (path(0.08, 0.52, 0.3, 0.57, 0.52, 0.55, 0.5, 0.53, 0.3, 0.545), lit(steel, 1.6)),
        (oval(0.42, 0.48, 0.02, 0.012), lit(steel, 0.4)),
    ]
    fold = complex(0.52, 0.5)
    turn = np.exp(1j * r.choice((0.0, 0.0, r.uniform(0.3, 1.6))))
    return [((points - fold) * turn + fold, colour) for points, colour in blade] + [
        (smooth(path(0.47, 0.44, 0.9, 0.42, 1.0, 0.5, 0.96, 0.58, 0.72, 0.54, 0.47, 0.57)), grip),
        (stroke(path(0.55, 0.46, 0.75, 0.45, 0.9, 0.455), 0.01), lit(grip, 1.6)),
        (oval(0.53, 0.5, 0.02), lit(steel, 0.8)),
        (oval(0.9, 0.5, 0.015), lit(steel, 0.8)),
    ]


GLYPHS = {
    "0": path(0.0, 0.0, 1.0, 0.0, 1.0, 2.0, 0.0, 2.0, 0.0, 0.0),
    "1": path(0.5, 0.0, 0.5, 1.0, 0.5, 2.0),
    "2": path(0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 2.0, 1.0, 2.0),
    "5": path(1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 0.0, 2.0),
}


def number(figures: str, x: float, y: float, height: float, colour: Colour) -> Thing:
    """Figures in strokes, made of the digits that denominations and prices here have."""
    unit, step = height / 2, 0.8 * height
    corners = [complex(x + step * k, y) for k in range(len(figures))]
    return [(stroke(at + unit * GLYPHS[c], 0.2 * height), colour) for c, at in zip(figures, corners, strict=True)]


def note(r: Random, ink: Colour, figures: str) -> Thing:
    """A bank note: guilloche waves, portrait in an oval, the denomination in the corners, a serial number."""
    pale, dark = lit(ink, 2.6), lit(ink, 0.55)
    x, left = np.linspace(0.06, 0.94, 24), r.random() < 0.5
    face = r.choice((0.24, 0.5, 0.74))
    waves = [x + 1j * (0.5 + 0.1 * k + 0.05 * np.sin(r.uniform(12, 25) * x)) for k in (-1, 0, 1)]
    return [
        (box(0.0, 0.27, 1.0, 0.73), lit(ink, 3.4)),
        (box(0.025, 0.295, 0.975, 0.705), ink),
        (box(0.045, 0.315, 0.955, 0.685), pale),
        *((stroke(wave, 0.022), lit(ink, 1.6)) for wave in waves),
        (oval(face, 0.5, 0.125, 0.165), lit(ink, 1.2)),
        (oval(face, 0.5, 0.11, 0.15), lit(ink, 3.0)),
        (smooth(path(face - 0.11, 0.63, face - 0.04, 0.55, face + 0.04, 0.55, face + 0.11, 0.63)), dark),
        (oval(face, 0.455, 0.05, 0.07), lit(ink, 0.8)),
        (oval(face + 0.01, 0.47, 0.036, 0.055), lit(ink, 1.9)),
        *number(figures, 0.07, 0.335, 0.075, dark),
        *number(figures, 0.93 - 0.06 * len(figures), 0.6, 0.075, dark),
        (oval(0.6 if face < 0.4 else 0.3, 0.5, 0.06), lit(ink, 1.1)),
        (box(0.62 if left else 0.3, 0.34, 0.86 if left else 0.5, 0.36), dark),
    ]


INKS = ((70, 110, 80), (75, 110, 75), (150, 75, 70), (70, 100, 150), (180, 120, 60), (120, 85, 140), (90, 130, 130))


def cash(r: Random) -> Thing:
    """One to four bank notes, alone, fanned or stacked, now and then with coins or a paper band."""
    ink, figures, fan = r.choice(INKS), r.choice(("5", "10", "20", "50", "100", "500")), r.uniform(0.05, 0.35)
    count = r.choice((1, 1, 2, 3, 4))
    thing: Thing = []
    for k in range(count):
        if r.random() < 0.25:
            ink, figures = r.choice(INKS), r.choice(("5", "10", "20", "50", "100"))
        thing += moved(note(r, ink, figures), fan * (k - (count - 1) / 2), 0.95, y=0.05 * k - 0.02 * count)
    if r.random() < 0.2:
        thing.append((box(0.42, 0.25, 0.54, 0.78), r.choice(PAPER)))
    if r.random() < 0.3:
        thing += moved(coins(r), 0.0, 0.5, r.uniform(-0.3, 0.3), r.uniform(-0.2, 0.3))
    return thing


def cigarette(x: float, y0: float, y1: float) -> Thing:
    """A standing cigarette with its filter on top and a band between the two."""
    middle = y0 + 0.35 * (y1 - y0)
    return [
        (box(x - 0.022, y0, x + 0.022, y1), (244, 242, 236)),
        (box(x - 0.022, y0, x + 0.022, middle), (206, 148, 84)),
        (box(x - 0.022, middle, x + 0.022, middle + 0.012), (190, 160, 90)),
        (box(x + 0.01, y0, x + 0.022, y1), DUSK),
    ]


def cigarettes(r: Random) -> Thing:
    """A pack: flip-top lid, crest and band, black-framed warning, often open with the filters showing."""
    ink, base = paint(r, 0.85, 0.65, 0.25), r.choice((WHITE, WHITE, paint(r, 0.5, 0.8), (190, 160, 90), BLACK))
    x0, x1, y0, y1 = 0.28, 0.68, r.uniform(0.17, 0.22), 0.9
    lid, half, opened = y0 + 0.15, r.uniform(0.52, 0.62), r.random() < 0.5
    thing: Thing = [(path(x1, y0, x1 + 0.09, y0 - 0.04, x1 + 0.09, y1 - 0.04, x1, y1), lit(base, 0.65))]
    if opened:
        thing.append((path(x0, y0, x0 + 0.09, y0 - 0.16, x1 + 0.09, y0 - 0.16, x1, y0), lit(base, 0.8)))
        for x in np.linspace(x0 + 0.04, x1 - 0.04, 6):
            thing += cigarette(float(x), y0 - r.choice((0.05, 0.06, 0.12)), y0 + 0.3)
    else:
        thing.append((path(x0, y0, x0 + 0.09, y0 - 0.04, x1 + 0.09, y0 - 0.04, x1, y0), lit(base, 1.3)))
    thing += [
        (box(x0, lid if opened else y0, x1, y1), base),
        (box(x0, lid, x1, lid + 0.012), lit(base, 0.5)),
        r.choice(
            (
                (path(x0, lid + 0.02, x1, lid + 0.02, 0.48, half), ink),
                (box(x0, lid + 0.03, x1, lid + 0.16), ink),
                (path(x0, half, x1, lid + 0.03, x1, lid + 0.12, x0, half + 0.05), ink),
            )
        ),
        (oval(0.48, lid + 0.1, 0.06, 0.05), r.choice(((205, 170, 80), lit(ink, 0.6), WHITE))),
        *text(r, 0.38, half - 0.06, 0.58, half - 0.01, 1, lit(ink, 0.5)),
    ]
    if r.random() < 0.8:
        thing += [
            (box(x0, half, x1, y1), BLACK),
            (box(x0 + 0.02, half + 0.02, x1 - 0.02, y1 - 0.02), r.choice((WHITE, WHITE, (120, 70, 60)))),
            *text(r, x0 + 0.05, half + 0.05, x1 - 0.05, y1 - 0.03, 3, BLACK),
        ]
    if r.random() < 0.35:
        for _ in range(r.randint(1, 3)):
            thing += moved(cigarette(0.5, 0.25, 0.75), r.uniform(0, 6), 1.0, r.uniform(-0.4, 0.4), r.uniform(0.1, 0.4))
    return thing


# Look-alikes: tools and kitchen things


def drill(r: Random) -> Thing:
    """A cordless drill, a gun to a careless eye: barrel, trigger, grip, but a chuck, a bit and a battery foot."""
    body, dark = casing(r), grey(r, 20, 60)
    thick, rake = r.uniform(0.18, 0.24), r.uniform(-0.02, 0.08)
    low = 0.2 + thick
    return [
        (path(0.54, low - 0.03, 0.76, low - 0.03, 0.76 + rake, 0.8, 0.58 + rake, 0.8), body),
        (path(0.5, low, 0.58, low, 0.58, low + 0.1, 0.54, low + 0.1), dark),
        (box(0.46 + rake, 0.76, 0.86 + rake, 0.9, 0.02), dark),
        (box(0.3, 0.2, 0.88, low, 0.06), body),
        (box(0.34, 0.22, 0.84, 0.24), lit(body, 1.6)),
        (path(0.31, 0.22, 0.16, 0.26, 0.16, low - 0.06, 0.31, low - 0.02), dark),
        (box(0.0, 0.29, 0.17, 0.315), grey(r, 130, 190)),
        (box(0.5, 0.27, 0.74, low - 0.05, 0.02), lit(body, 0.7)),
    ]


def glue_gun(r: Random) -> Thing:
    """A glue gun: pistol outline, but a cone for a nozzle, a big open trigger and a glue stick at the back."""
    body = casing(r)
    top, rake = r.uniform(0.26, 0.32), r.uniform(0.0, 0.1)
    return [
        (box(0.8, top + 0.04, 1.0, top + 0.09), (235, 230, 205)),
        (path(0.16, top + 0.04, 0.0, top + 0.07, 0.0, top + 0.09, 0.16, top + 0.13), grey(r, 120, 200)),
        (smooth(path(0.5, top + 0.14, 0.6, top + 0.14, 0.56, top + 0.36, 0.5, top + 0.34)), lit(body, 0.5)),
        (path(0.58, top + 0.1, 0.8, top + 0.1, 0.84 + rake, 0.88, 0.66 + rake, 0.9), body),
        (smooth(path(0.12, top + 0.02, 0.4, top - 0.03, 0.88, top - 0.02, 0.88, top + 0.18, 0.14, top + 0.16)), body),
        (stroke(path(0.2, top + 0.03, 0.5, top + 0.01, 0.8, top + 0.015), 0.02), lit(body, 1.6)),
        (stroke(path(0.75 + rake, 0.88, 0.8, 1.0, 0.98, 1.04), 0.02), BLACK),
    ]


def hair_dryer(r: Random) -> Thing:
    """A hair dryer: barrel and grip, but fat, round at the back, with a grille, a nozzle and a cable."""
    body, trim = casing(r), grey(r, 20, 80)
    return [
        (path(0.5, 0.38, 0.68, 0.38, 0.7, 0.88, 0.58, 0.9), lit(body, 0.85)),
        (box(0.57, 0.52, 0.61, 0.62), trim),
        (path(0.0, 0.16, 0.12, 0.2, 0.12, 0.38, 0.0, 0.44), trim),
        (smooth(path(0.1, 0.18, 0.45, 0.12, 0.86, 0.08, 0.96, 0.28, 0.86, 0.48, 0.45, 0.44, 0.1, 0.4)), body),
        (stroke(path(0.16, 0.22, 0.4, 0.18, 0.7, 0.16), 0.03), lit(body, 1.6)),
        (oval(0.8, 0.28, 0.07, 0.13), trim),
        (oval(0.8, 0.28, 0.05, 0.1), lit(trim, 1.4)),
        (stroke(path(0.64, 0.88, 0.66, 0.97, 0.8, 1.0, 0.98, 0.95), 0.025), BLACK),
    ]


def screwdriver(r: Random) -> Thing:
    """A screwdriver: long and steel like a knife, but round and blunt, with a fluted handle."""
    grip, steel = r.choice((paint(r, 0.85, 0.75, 0.2), BLACK, wooden(r))), grey(r, 120, 220)
    return [
        (path(0.0, 0.48, 0.04, 0.475, 0.04, 0.525, 0.0, 0.52), lit(steel, 0.7)),
        (box(0.03, 0.48, 0.62, 0.52), steel),
        (box(0.03, 0.485, 0.62, 0.497), lit(steel, 1.8)),
        (smooth(path(0.58, 0.46, 0.7, 0.42, 0.98, 0.43, 1.0, 0.5, 0.98, 0.57, 0.7, 0.58, 0.58, 0.54)), grip),
        *((box(0.7, y, 0.95, y + 0.012), lit(grip, 0.6)) for y in (0.45, 0.49, 0.53)),
    ]


def hammer(r: Random) -> Thing:
    """A claw hammer."""
    steel, grip = metal(r), r.choice((wooden(r), paint(r, 0.8)))
    return [
        (stroke(path(0.24, 0.52, 0.6, 0.53, 1.0, 0.53), 0.07, 0.1), grip),
        (box(0.16, 0.42, 0.32, 0.62, 0.02), steel),
        (box(0.19, 0.6, 0.29, 0.7), lit(steel, 0.8)),
        (box(0.14, 0.69, 0.34, 0.79, 0.02), lit(steel, 1.2)),
        (stroke(path(0.24, 0.45, 0.26, 0.32, 0.34, 0.2, 0.44, 0.15), 0.14, 0.03), lit(steel, 1.1)),
    ]


def wrench(r: Random) -> Thing:
    """A spanner, open at one end and closed at the other."""
    steel = grey(r, 100, 210)
    return [
        (stroke(path(0.15, 0.5, 0.5, 0.5, 0.88, 0.5), 0.08), steel),
        (
            smooth(path(0.0, 0.38, 0.1, 0.44, 0.1, 0.56, 0.0, 0.62, 0.14, 0.68, 0.26, 0.54, 0.26, 0.46, 0.14, 0.32)),
            steel,
        ),
        (ring(oval(0.9, 0.5, 0.075), 0.055), steel),
        (box(0.3, 0.485, 0.75, 0.515), lit(steel, 0.6)),
    ]


def scissors(r: Random) -> Thing:
    """Scissors: blades as bright as a knife's, with two finger rings."""
    grip, steel, wide = paint(r, 0.8, 0.6), grey(r, 150, 225), r.uniform(0.08, 0.3)
    thing: Thing = []
    for side in (-1, 1):
        thing += moved(
            [
                (path(0.0, 0.5, 0.55, 0.5 - 0.04, 0.55, 0.5 + 0.03), lit(steel, 1 + 0.2 * side)),
                (stroke(path(0.52, 0.5, 0.62, 0.5, 0.7, 0.5 + 0.05 * side), 0.05), grip),
                (ring(oval(0.83, 0.5 + 0.08 * side, 0.13, 0.075), 0.04), grip),
            ],
            turn=side * wide,
        )
    return [*thing, (oval(0.5, 0.5, 0.02), lit(steel, 0.6))]


def spoon(r: Random) -> Thing:
    """A spoon, or a fork or a spatula: cutlery that is no knife."""
    steel = r.choice((grey(r, 150, 225), grey(r, 150, 225), wooden(r)))
    handle = stroke(path(0.25, 0.5, 0.6, 0.5, 1.0, 0.49), 0.03, 0.06)
    if (kind := r.random()) < 0.5:
        head: Thing = [(oval(0.16, 0.5, 0.16, 0.085), steel), (oval(0.17, 0.505, 0.12, 0.06), lit(steel, 0.75))]
    elif kind < 0.8:
        head = [(smooth(path(0.14, 0.42, 0.3, 0.46, 0.3, 0.54, 0.14, 0.58)), steel)]
        head += [(box(0.0, y, 0.2, y + 0.022), steel) for y in (0.43, 0.465, 0.515, 0.55)]
    else:
        head = [(box(0.0, 0.4, 0.3, 0.6, 0.03), steel)]
        head += [(box(0.05, y, 0.24, y + 0.025), lit(steel, 0.4)) for y in (0.45, 0.49, 0.53)]
    return [(handle, lit(steel, 0.9)), *head, (stroke(path(0.3, 0.5, 0.6, 0.495, 0.95, 0.48), 0.008), lit(steel, 1.7))]


# Other goods


def bottle(r: Random) -> Thing:
    """A bottle of wine, beer, water or scent, see-through or not, with a label."""
    glass = lit(paint(r, 0.55, 0.5), 1.0, r.choice((140, 190, 255, 255)))
    shoulder, wide, neck = r.uniform(0.3, 0.5), r.uniform(0.13, 0.2), r.uniform(0.035, 0.06)
    outline = turned(0.06, neck, shoulder - 0.13, neck, shoulder, wide, 0.95, wide, 0.98, 0.9 * wide)
    cap, label = paint(r, 0.6, 0.5), r.choice((*PAPER, paint(r, 0.7, 0.7)))
    y = r.uniform(shoulder + 0.05, 0.62)
    return [
        (smooth(outline), glass),
        (smooth(turned(shoulder + 0.05, 0.9 * wide, 0.97, 0.9 * wide)), lit(glass, 0.7, 120)),
        (box(0.5 - wide, y, 0.5 + wide, y + 0.26), label),
        *text(r, 0.5 - 0.7 * wide, y + 0.04, 0.5 + 0.7 * wide, y + 0.22, r.randint(2, 4), lit(label, 0.4)),
        (box(0.5 - neck - 0.012, 0.02, 0.5 + neck + 0.012, r.uniform(0.08, 0.16), 0.01), cap),
        (box(0.5 - 0.75 * wide, shoulder + 0.03, 0.5 - 0.55 * wide, 0.93, 0.01), GLINT),
        (box(0.5 + 0.7 * wide, shoulder, 0.5 + wide, 0.95), DUSK),
    ]


def phone(r: Random) -> Thing:
    """A phone: screen with icons, a dark screen perhaps cracked, or the back with its cameras."""
    shell, kind = r.choice((metal(r), paint(r, 0.4, 0.7), WHITE)), r.random()
    frame = box(0.27, 0.05, 0.73, 0.95, 0.05)
    thing: Thing = [(frame, shell), (ring(frame, 0.012), lit(shell, 1.6))]
    if kind < 0.3:
        lenses = [(oval(x, y, 0.03), BLACK) for x, y in ((0.36, 0.14), (0.36, 0.23), (0.44, 0.185))][: r.randint(1, 3)]
        return [
            *thing,
            (box(0.3, 0.08, 0.5, 0.29, 0.04), lit(shell, 0.7)),
            *lenses,
            (oval(0.5, 0.5, 0.04), lit(shell, 1.4)),
        ]
    screen = paint(r, 0.6, 0.5) if kind < 0.7 else BLACK
    thing.append((box(0.295, 0.08, 0.705, 0.92, 0.03), screen))
    if kind < 0.7:
        thing.append((path(0.295, 0.5, 0.705, r.uniform(0.2, 0.7), 0.705, 0.9, 0.295, 0.9), paint(r)))
        spots = [(x, y) for y in np.arange(0.2, r.uniform(0.4, 0.9), 0.13) for x in (0.33, 0.43, 0.53, 0.63)]
        thing += [(box(x, y, x + 0.06, y + 0.06, 0.015), paint(r, 0.7, 0.8)) for x, y in spots]
    else:
        thing.append((path(0.295, 0.3, 0.55, 0.08, 0.68, 0.08, 0.295, 0.5), (255, 255, 255, 30)))
        for _ in range(r.choice((0, 0, 3))):
            thing.append((stroke(path(0.4, 0.3, r.uniform(0.3, 0.7), r.uniform(0.1, 0.9)), 0.006), (170, 175, 180)))
    return [*thing, (box(0.44, 0.09, 0.56, 0.11, 0.01), BLACK)]


def one_shoe(r: Random, body: Colour, trim: Colour, sole: Colour, tall: float) -> Thing:
    """A shoe from the side, toe to the left; `tall` is how far up the ankle goes."""
    top = 0.3 - tall
    upper = path(0.02, 0.72, 0.06, 0.6, 0.3, 0.52, 0.48, 0.36, 0.56, top, 0.88, top, 0.92, 0.45, 0.97, 0.72)
    holes = ((0.34, 0.45), (0.4, 0.4), (0.46, 0.35))
    laces = [(stroke(path(x, y, x + 0.09, y + 0.05), 0.018), WHITE) for x, y in holes]
    return [
        (smooth(upper), body),
        (oval(0.72, top + 0.01, 0.15, 0.03), lit(body, 0.4)),
        (smooth(path(0.02, 0.72, 0.06, 0.61, 0.24, 0.56, 0.26, 0.72)), lit(body, 1.3)),
        (stroke(path(0.4, 0.68, 0.6, 0.6, 0.72, 0.42), 0.05, 0.07), trim),
        (smooth(path(0.82, 0.4, 0.93, 0.4, 0.97, 0.72, 0.8, 0.72)), trim),
        *laces,
        (box(0.0, 0.68, 1.0, 0.78, 0.045), sole),
        (box(0.03, 0.745, 0.97, 0.765), lit(sole, 0.6)),
    ]


def shoe(r: Random) -> Thing:
    """A shoe or a boot, alone or as a pair."""
    body, trim, sole = paint(r, 0.4, 0.5), paint(r, 0.6, 0.7), r.choice((WHITE, BLACK, wooden(r)))
    shape = one_shoe(r, body, trim, sole, r.choice((0.0, 0.0, 0.02, 0.22)))
    if r.random() < 0.5:
        return shape
    return moved(shape, 0.0, 0.8, 0.1, -0.13) + moved(shape, r.uniform(-0.2, 0.2), 0.8, -0.08, 0.15)


def book(r: Random) -> Thing:
    """A book: cover with a title and a picture, page block below; some green and wide with a portrait, like money."""
    cover, ink = paint(r, 0.6, 0.55), r.choice((*PAPER, paint(r, 0.8, 0.8)))
    page = r.choice(PAPER)
    if r.random() < 0.25:
        return [
            (path(0.0, 0.25, 0.5, 0.28, 1.0, 0.25, 1.0, 0.78, 0.5, 0.81, 0.0, 0.78), cover),
            (path(0.03, 0.24, 0.2, 0.21, 0.35, 0.22, 0.5, 0.26, 0.5, 0.79, 0.35, 0.75, 0.2, 0.74, 0.03, 0.76), page),
            (
                path(0.97, 0.24, 0.8, 0.21, 0.65, 0.22, 0.5, 0.26, 0.5, 0.79, 0.65, 0.75, 0.8, 0.74, 0.97, 0.76),
                lit(page, 0.9),
            ),
            *text(r, 0.07, 0.29, 0.44, 0.7, 8, (110, 110, 110)),
            *text(r, 0.56, 0.29, 0.93, 0.7, 8, (110, 110, 110)),
        ]
    spine = r.uniform(0.02, 0.08)
    thing: Thing = [
        (path(0.2, 0.92, 0.2 + spine, 0.92 + spine, 0.8 + spine, 0.92 + spine, 0.8, 0.92), page),
        (path(0.8, 0.08, 0.8 + spine, 0.08 + spine, 0.8 + spine, 0.92 + spine, 0.8, 0.92), lit(page, 0.8)),
        (box(0.2, 0.08, 0.8, 0.92), cover),
        (box(0.2, 0.08, 0.25, 0.92), lit(cover, 0.7)),
        *text(r, 0.3, 0.14, 0.74, 0.3, 2, ink),
        *text(r, 0.3, 0.82, 0.6, 0.87, 1, ink),
    ]
    picture = r.choice(
        (oval(0.52, 0.55, 0.17, 0.2), box(0.3, 0.38, 0.75, 0.76), path(0.3, 0.76, 0.52, 0.36, 0.75, 0.76))
    )
    thing += [(picture, paint(r)), (oval(r.uniform(0.4, 0.65), 0.5, 0.07), paint(r))]
    return moved(thing, np.pi / 2 if r.random() < 0.2 else 0.0)


def cup(r: Random) -> Thing:
    """A mug, a tea cup on its saucer or a tumbler, full or empty."""
    body, trim = r.choice((WHITE, paint(r, 0.5, 0.7), paint(r, 0.5, 0.7))), paint(r)
    top, foot, high = r.uniform(0.24, 0.32), r.uniform(0.14, 0.26), r.uniform(0.15, 0.3)
    thing: Thing = []
    if r.random() < 0.4:
        thing += [(oval(0.5, 0.84, 0.46, 0.12), lit(body, 0.9)), (oval(0.5, 0.83, 0.3, 0.07), lit(body, 0.75))]
    if r.random() < 0.8:
        thing.append((ring(oval(0.5 + top, 0.5, 0.15, 0.16), 0.055), lit(body, 0.85)))
    band = (1, 0.97) if r.random() < 0.5 else (0.75, 0.85)
    return [
        *thing,
        (smooth(turned(high, top, 0.6, 0.9 * top, 0.86, foot, 0.88, 0.8 * foot)), body),
        (turned(0.45, band[0] * 0.93 * top, 0.6, band[1] * 0.85 * top), trim),
        (turned(high + 0.06, -0.5 * top, 0.75, -0.6 * foot, 0.75, -0.4 * foot, high + 0.06, -0.35 * top)[:4], GLINT),
        (oval(0.5, high, top, 0.08), lit(body, 1.4)),
        (oval(0.5, high, top - 0.025, 0.065), r.choice((lit(body, 0.6), (70, 40, 22), (150, 90, 40)))),
    ]


def carton(r: Random) -> Thing:
    """A small box (cards, tea, medicine, a charger): a cigarette pack's shape and colours, no lid and no warning."""
    base, ink = r.choice((WHITE, paint(r, 0.6, 0.7), paint(r, 0.8, 0.5), BLACK)), paint(r, 0.8, 0.6)
    x1, y0 = r.uniform(0.6, 0.8), r.uniform(0.15, 0.3)
    thing: Thing = [
        (path(x1, y0, x1 + 0.09, y0 - 0.05, x1 + 0.09, 0.85, x1, 0.9), lit(base, 0.65)),
        (path(0.25, y0, 0.34, y0 - 0.05, x1 + 0.09, y0 - 0.05, x1, y0), lit(base, 1.3)),
        (box(0.25, y0, x1, 0.9), base),
        (r.choice((oval(0.45, 0.5, 0.13), box(0.25, 0.4, x1, 0.55), path(0.25, 0.9, x1, 0.5, x1, 0.9))), ink),
        *text(r, 0.32, y0 + 0.06, x1 - 0.07, y0 + 0.2, r.randint(1, 3), lit(ink, 0.5)),
    ]
    if r.random() < 0.5:
        thing.append((box(0.3, 0.66, x1 - 0.05, 0.86), lit(base, 1.5)))
        thing += text(r, 0.33, 0.69, x1 - 0.08, 0.85, 3, lit(ink, 0.4))
    return thing


def ticket(r: Random) -> Thing:
    """A voucher, a card or a letter: a note's size, border, colours and figures, but no portrait."""
    ink = r.choice((*INKS, paint(r, 0.7, 0.6)))
    thing: Thing = [
        (box(0.0, 0.27, 1.0, 0.73), lit(ink, 3.4)),
        (box(0.04, 0.31, 0.96, 0.69), lit(ink, r.choice((1.0, 1.8, 2.6)))),
    ]
    if r.random() < 0.5:
        x = np.linspace(0.06, 0.94, 24)
        waves = [x + 1j * (level + 0.05 * np.sin(r.uniform(12, 25) * x)) for level in (0.42, 0.56)]
        thing += [(stroke(wave, 0.022), lit(ink, 1.6)) for wave in waves]
        thing.append((oval(r.uniform(0.3, 0.5), 0.5, 0.11, 0.15), lit(ink, r.choice((1.2, 3.0)))))
    if r.random() < 0.6:
        thing += number(r.choice(("20", "50", "12", "5")), 0.1, 0.36, 0.14, lit(ink, 0.5))
    thing += text(r, 0.1, 0.56, 0.6, 0.66, 2, lit(ink, 0.5))
    if r.random() < 0.5:
        thing += [(box(0.68, 0.38, 0.9, 0.62), WHITE)]
        thing += [(box(x, 0.4, x + r.choice((0.006, 0.014)), 0.6), BLACK) for x in np.arange(0.7, 0.88, 0.022)]
    else:
        thing += [(smooth(path(0.66, 0.64, 0.72, 0.42, 0.8, 0.52, 0.86, 0.38, 0.93, 0.64)), lit(ink, 0.7))]
    return thing


def receipt(r: Random) -> Thing:
    """A till receipt or a letter: paper with print."""
    page, x1 = r.choice(PAPER), r.uniform(0.55, 0.8)
    torn = [0.02 + r.uniform(-0.015, 0.015) for _ in range(8)]
    top = np.linspace(0.25, x1, 8) + 1j * np.array(torn)
    return [
        (np.append(top, path(x1, 0.96, 0.25, 0.98)), page),
        *text(r, 0.31, 0.1, x1 - 0.05, 0.85, r.randint(5, 9), (120, 120, 125)),
    ]


def coins(r: Random) -> Thing:
    """Coins or buttons."""
    thing: Thing = []
    for _ in range(r.randint(1, 4)):
        x, y, size = r.uniform(0.2, 0.8), r.uniform(0.2, 0.8), r.uniform(0.1, 0.16)
        ink = r.choice(((190, 155, 80), (170, 170, 172)))
        thing += [
            (oval(x, y, size), lit(ink, 0.7)),
            (oval(x, y, 0.85 * size), ink),
            (oval(x, y, 0.45 * size), lit(ink, 1.4)),
        ]
    return thing


def remote(r: Random) -> Thing:
    """A remote control or a calculator."""
    body, x1 = r.choice((BLACK, grey(r, 60, 200))), r.uniform(0.58, 0.75)
    keys = [(x, y) for y in np.arange(0.3, 0.88, 0.11) for x in np.linspace(0.37, x1 - 0.05, 3)]
    return [
        (box(0.3, 0.03, x1, 0.97, 0.05), body),
        (box(0.35, 0.1, x1 - 0.05, 0.22, 0.01), lit(body, 1.5)),
        *(
            (oval(float(x), float(y), 0.028), r.choice((lit(body, 2.0), lit(body, 2.0), (200, 60, 50))))
            for x, y in keys
        ),
    ]


def toy(r: Random) -> Thing:
    """Building blocks and a ball."""
    ink = paint(r, 0.8, 0.8, 0.2)
    thing: Thing = [(box(0.1, 0.4, 0.7, 0.75), ink), (box(0.1, 0.68, 0.7, 0.75), lit(ink, 0.7))]
    thing += [(box(x, 0.32, x + 0.11, 0.41, 0.02), lit(ink, 1.2)) for x in (0.15, 0.35, 0.55)]
    ball = paint(r, 0.8, 0.8, 0.2)
    return [*thing, (oval(0.75, 0.72, 0.2), ball), (oval(0.69, 0.64, 0.07), lit(ball, 1.7))]


def cable(r: Random) -> Thing:
    """A coiled cable with its plug."""
    ink, t = r.choice((BLACK, WHITE, grey(r, 60, 160))), np.linspace(0, r.uniform(8, 16), 50)
    coil = 0.5 + 0.5j + (0.25 + 0.01 * t) * np.exp(1j * t) * (1 + 0.1 * np.sin(3 * t))
    return [(stroke(coil, 0.03), ink), (oval(coil[-1].real, coil[-1].imag, 0.06), lit(ink, 0.8))]


def leaf(r: Random) -> Thing:
    """A few leaves, or feathers."""
    ink = (round(r.uniform(30, 150)), round(r.uniform(90, 160)), round(r.uniform(30, 80)))
    one: Thing = [
        (smooth(path(0.5, 0.5, 0.65, 0.38, 0.85, 0.42, 1.0, 0.5, 0.85, 0.58, 0.65, 0.62)), ink),
        (stroke(path(0.45, 0.5, 0.7, 0.5, 0.97, 0.5), 0.015), lit(ink, 0.6)),
    ]
    return [shape for k in range(r.randint(1, 5)) for shape in moved(one, k * 1.25 + r.uniform(-0.3, 0.3))]


def watch(r: Random) -> Thing:
    """A wrist watch laid flat."""
    strap, case = r.choice((wooden(r), BLACK, paint(r, 0.5, 0.5), grey(r, 120, 190))), metal(r)
    return [
        (stroke(path(0.5, 0.0, 0.5, 0.5, 0.5, 1.0), 0.17), strap),
        (oval(0.5, 0.5, 0.2), case),
        (oval(0.5, 0.5, 0.16), r.choice((WHITE, BLACK))),
        (stroke(path(0.5, 0.5, 0.5, 0.38), 0.02), (150, 150, 150)),
        (stroke(path(0.5, 0.5, 0.59, 0.53), 0.02), (150, 150, 150)),
    ]


def keys(r: Random) -> Thing:
    """Keys on a ring."""
    thing: Thing = [(ring(oval(0.25, 0.3, 0.16), 0.025), (150, 150, 155))]
    for k in range(r.randint(1, 3)):
        ink = r.choice(((185, 150, 80), (165, 165, 170)))
        one: Thing = [(ring(oval(0.35, 0.5, 0.11), 0.07), ink), (box(0.44, 0.47, 0.95, 0.53), ink)]
        one += [(box(x, 0.52, x + 0.04, 0.58), ink) for x in (0.7, 0.78, 0.88)]
        thing += moved(one, 0.3 + 0.5 * k + r.uniform(0, 0.2), 0.8)
    return thing


def pen(r: Random) -> Thing:
    """A pen, a pencil or a brush, as thin and white as a cigarette at times."""
    ink = r.choice((WHITE, paint(r, 0.8, 0.7), BLACK))
    return [
        (box(0.08, 0.475, 0.95, 0.525), ink),
        (path(0.0, 0.5, 0.1, 0.475, 0.1, 0.525), r.choice((BLACK, (220, 190, 150)))),
        (box(0.75, 0.475, 0.95, 0.525), paint(r)),
        (box(0.1, 0.483, 0.95, 0.493), GLINT),
    ]


def fingers(r: Random) -> Thing:
    """Two to four fingertips that reach in from the right, as of the hand that holds the goods."""
    skin = lit((226, 178, 146), r.uniform(0.35, 1.1))
    thing: Thing = []
    for k in range(r.randint(2, 4)):
        y, tip, wide = 0.2 + 0.19 * k, r.uniform(0.0, 0.2), r.uniform(0.15, 0.19)
        finger = path(
            tip, y, tip + 0.06, y - wide / 2, 2.5, y - 0.6 * wide, 2.5, y + 0.6 * wide, tip + 0.06, y + wide / 2
        )
        thing += [
            (smooth(finger), lit(skin, 0.95)),
            (smooth(path(tip + 0.1, y + 0.3 * wide, 2.5, y + 0.3 * wide, 2.5, y + 0.55 * wide)), lit(skin, 0.8)),
            (smooth(box(tip + 0.03, y - 0.3 * wide, tip + 0.17, y + 0.25 * wide)), lit(skin, 1.5)),
            (stroke(path(0.45, y - 0.4 * wide, 0.44, y, 0.45, y + 0.4 * wide), 0.012), lit(skin, 0.75)),
        ]
    return thing


GOODS: dict[str, tuple[Drawing, ...]] = {
    "gun": (pistol, pistol, revolver, rifle),
    "knife": (kitchen_knife, dagger, pocket_knife),
    "cash": (cash,),
    "cigarettes": (cigarettes,),
    "bottle": (bottle,),
    "phone": (phone,),
    "shoe": (shoe,),
    "book": (book,),
    "cup": (cup,),
    "tool": (drill, glue_gun, hair_dryer, screwdriver, hammer, wrench, scissors),
    "clutter": (carton, ticket, receipt, spoon, remote, watch),
}
"""What each label's photos show; `clutter` shows something that no other label names."""

ODDMENTS: tuple[Drawing, ...] = (
    carton, ticket, receipt, spoon, coins, remote, toy, cable, leaf, watch, keys, pen, screwdriver, scissors, cup,
    bottle,
)  # fmt: skip
"""Household things that lie about in every photo; none is prohibited."""
