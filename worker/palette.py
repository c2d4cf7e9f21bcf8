"""Colours of classes, and the colour of text on them. Every colour is (red, green, blue), 0 to 255.

The first seven are the palette of Okabe and Ito: https://jfly.uni-koeln.de/color/.
Each later colour is the one of 4,096 that lies farthest from all before it. The distance is
CIELAB's, and the least of three: as most people see, and without red or without green cones.
The simulation is that of Machado et al. 2009, https://doi.org/10.1109/TVCG.2009.113
No two of the twenty are nearer to each other than two of the first seven.
"""

Colour = tuple[int, int, int]

COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (240, 228, 66),
    (0, 0, 255),
    (136, 255, 170),
    (136, 17, 17),
    (119, 102, 255),
    (119, 34, 85),
    (85, 255, 255),
    (34, 51, 170),
    (85, 187, 102),
    (136, 221, 187),
    (204, 238, 119),
    (119, 17, 119),
    (102, 153, 255),
    (136, 51, 68),
)
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)


def colour_of(class_id: int) -> Colour:
    """Return the colour of a class: always the same for one id."""
    return COLOURS[class_id % len(COLOURS)]


def text_on(background: Colour) -> Colour:
    """Return black or white: the one with more contrast, at least 4.5, on `background`."""
    return max(BLACK, WHITE, key=lambda colour: contrast(colour, background))


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast ratio of two colours, 1 to 21: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    """Relative luminance, 0 to 1: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (part / 255 for part in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
