"""Effects of light and camera on a flat picture: shadows, glare, blur, noise, JPEG."""

import cv2
import numpy as np

from tools.codes.backgrounds import Image, Rng, noise


def light(rng: Rng, image: Image) -> Image:
    """Uneven light, soft shadows, glare, vignetting, tint and tone, each at random."""
    h, w = image.shape[:2]
    gain = np.ones((h // 4 + 1, w // 4 + 1), np.float32)
    y, x = np.mgrid[-1 : 1 : gain.shape[0] * 1j, -1 : 1 : gain.shape[1] * 1j].astype(np.float32)
    if rng.random() < 0.6:
        angle = rng.uniform(0, 6.28)
        gain *= 1 + rng.uniform(0, 0.45) * (x * np.cos(angle) + y * np.sin(angle))
    if rng.random() < 0.3:
        gain *= 1 + 0.25 * noise(rng, *gain.shape, max(gain.shape) / 3)
    for _ in range(rng.integers(1, 3) if rng.random() < 0.35 else 0):
        shadow = np.zeros(gain.shape, np.uint8)
        corners = rng.uniform(-0.3, 1.3, (rng.integers(3, 6), 2)) * (gain.shape[1], gain.shape[0])
        cv2.fillPoly(shadow, [corners.astype(np.int32)], 255)
        soft = cv2.GaussianBlur(shadow, (0, 0), rng.uniform(0.4, 0.04 * max(gain.shape)))
        gain *= 1 - soft * np.float32(rng.uniform(0.2, 0.65) / 255)
    if rng.random() < 0.3:
        gain *= 1 - rng.uniform(0.1, 0.5) * (x * x + y * y) / 2
    add = np.zeros_like(gain)
    for _ in range(rng.integers(1, 3) if rng.random() < 0.25 else 0):
        u, v = x - rng.uniform(-1, 1), y - rng.uniform(-1, 1)
        spin = rng.uniform(0, 3.14)
        u, v = u * np.cos(spin) + v * np.sin(spin), v * np.cos(spin) - u * np.sin(spin)
        add += rng.uniform(40, 230) * np.exp(
            -((u / rng.uniform(0.03, 0.5)) ** 2) - (v / rng.uniform(0.03, 0.25)) ** 2
        )
    tint = 1 + rng.uniform(-0.18, 0.18, 3).astype(np.float32) * rng.random()
    exposure = rng.uniform(0.35, 1.35) if rng.random() < 0.5 else rng.uniform(0.8, 1.15)
    gain = cv2.resize(gain * exposure, (w, h))[..., None]
    out = image * (gain * tint)
    if add.any():
        out += cv2.resize(add, (w, h))[..., None]
    curve = np.linspace(0, 1, 256, dtype=np.float32) ** np.exp(rng.uniform(-0.45, 0.45))
    floor, top = (
        rng.uniform(0, 50) * (rng.random() < 0.3),
        255 - rng.uniform(0, 50) * (rng.random() < 0.3),
    )
    return cv2.LUT(
        np.clip(out, 0, 255).astype(np.uint8), (floor + (top - floor) * curve).astype(np.uint8)
    )


def blur(rng: Rng, image: Image, scale: float) -> tuple[Image, float]:
    """Blur an image: out of focus, moving, or sharp.

    Returns the image and the blur's standard deviation in network pixels. `scale` is network pixels
    per pixel of `image`.
    """
    pick = rng.random()
    if pick < 0.4:
        return image, 0.0
    sigma = float(rng.gamma(1.5, 0.55)) if pick < 0.8 else float(rng.gamma(2.0, 0.7))
    sigma = min(sigma, 3.5)
    if pick < 0.8:
        if pick < 0.6:
            return cv2.GaussianBlur(image, (0, 0), max(0.05, sigma / scale)), sigma
        # A uniform disc of radius r has a standard deviation of r / 2 along each axis.
        reach = max(1, round(2 * sigma / scale))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)).astype(
            np.float32
        )
        return cv2.filter2D(image, -1, disc / disc.sum()), sigma
    # A uniform line of length L has L / sqrt(12). Half counts: the line acts along one axis.
    length = max(2, round(sigma * 3.46 / scale))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, 3.14)
    step = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    middle = (length - 1) / 2
    p, q = (tuple(round(float(c)) for c in middle + s * step) for s in (-1, 1))
    cv2.line(kernel, p, q, 1.0, 1)
    return cv2.filter2D(image, -1, kernel / kernel.sum()), sigma * 0.7


def sensor(rng: Rng, image: Image) -> Image:
    """Noise that grows with darkness, sharpening at times, JPEG of any quality."""
    if rng.random() < 0.6:
        h, w = image.shape[:2]
        strength = rng.gamma(1.5, 4.0)
        grain = rng.standard_normal(
            (h, w, 1 if rng.random() < 0.5 else 3), dtype=np.float32
        ) * np.float32(strength)
        image = np.clip(image + grain * (1.3 - image * np.float32(0.8 / 255)), 0, 255).astype(
            np.uint8
        )
    if rng.random() < 0.2:
        soft = cv2.GaussianBlur(image, (0, 0), 1.0)
        image = cv2.addWeighted(image, 1.7, soft, -0.7, 0)
    if rng.random() < 0.7:
        quality = int(rng.choice([rng.integers(15, 40), rng.integers(40, 96)], p=[0.25, 0.75]))
        image = cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR
        )
    return image
