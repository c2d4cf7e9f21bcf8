"""A compact anchor-free YOLO.

A backbone of convolutions and CSP blocks, an additive PAN at strides 8, 16, 32, a decoupled head.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.codes import CLASSES, SIZE, STRIDES

WIDTHS = (16, 24, 48, 80, 112)
"""Channels at strides 2, 4, 8, 16 and 32."""
NECK = 48


class Conv(nn.Sequential):
    """Convolution, batch norm and ReLU: (N, i, H, W) to (N, o, H/s, W/s).

    `groups=channels` makes the convolution depthwise.
    """

    def __init__(self, i: int, o: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(o, eps=1e-3, momentum=0.03),
            nn.ReLU(inplace=True),
        )


class Csp(nn.Module):
    """Cross-stage partial block (Wang et al. 2019).

    Half the channels pass by, half go through residual pairs.
    """

    def __init__(self, channels: int, depth: int = 1) -> None:
        super().__init__()
        self.half = half = channels // 2
        self.enter = Conv(channels, channels, 1)
        self.steps = nn.ModuleList(
            nn.Sequential(Conv(half, half), Conv(half, half)) for _ in range(depth)
        )
        self.leave = Conv(channels + half * depth, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).split(self.half, 1))
        for step in self.steps:
            parts.append(parts[-1] + step(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Pyramid(nn.Module):
    """Max pooling over 5, 9 and 13 pixels: context for large codes (He et al. 2014).

    One pool of 5 pixels is applied three times.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter = Conv(channels, half, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = Conv(half * 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Head(nn.Module):
    """Two branches for one level.

    Returns distances in strides (N, 4, H, W) and class logits (N, C, H, W).
    """

    def __init__(self, channels: int, classes: int, prior: float) -> None:
        super().__init__()
        self.box = nn.Sequential(Conv(channels, 32), nn.Conv2d(32, 4, 1))
        deep = Conv(channels, channels, groups=channels), Conv(channels, channels, 1)
        self.cls = nn.Sequential(*deep, nn.Conv2d(channels, classes, 1))
        nn.init.constant_(self.box[-1].bias, 1.5)
        # RetinaNet's prior: the first steps need not push thousands of background anchors down.
        nn.init.constant_(self.cls[-1].bias, math.log(prior / (1 - prior)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return functional.softplus(self.box(x)), self.cls(x)


class Network(nn.Module):
    """The whole network: (N, 3, S, S) RGB in 0..1 to boxes and class logits.

    Boxes (N, A, 4) are x1, y1, x2, y2 in network pixels; class logits are (N, A, C).
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, neck: int = NECK) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.stage2 = nn.Sequential(Conv(3, a, 3, 2), Conv(a, b, 3, 2))
        self.stage3 = nn.Sequential(Conv(b, c, 3, 2), Csp(c, 2))
        self.stage4 = nn.Sequential(Conv(c, d, 3, 2), Csp(d, 2))
        self.stage5 = nn.Sequential(Conv(d, e, 3, 2), Csp(e), Pyramid(e))
        self.side3, self.side4, self.side5 = Conv(c, neck, 1), Conv(d, neck, 1), Conv(e, neck, 1)
        self.down4, self.down3 = Csp(neck), Csp(neck)
        self.pull4, self.pull5 = (
            Conv(neck, neck, 3, 2, groups=neck),
            Conv(neck, neck, 3, 2, groups=neck),
        )
        self.up4, self.up5 = Csp(neck), Csp(neck)
        self.heads = nn.ModuleList(Head(neck, len(CLASSES), 0.005) for _ in STRIDES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        c3 = self.stage3(self.stage2(x))
        c4 = self.stage4(c3)
        c5 = self.side5(self.stage5(c4))
        p4 = self.down4(self.side4(c4) + functional.interpolate(c5, scale_factor=2.0))
        p3 = self.down3(self.side3(c3) + functional.interpolate(p4, scale_factor=2.0))
        p4 = self.up4(p4 + self.pull4(p3))
        p5 = self.up5(c5 + self.pull5(p4))
        boxes, logits = [], []
        for head, level, stride in zip(self.heads, (p3, p4, p5), STRIDES, strict=True):
            distance, cls = head(level)
            # With plain numbers, the exported graph holds the anchors as constants.
            centre, count = anchors(stride), (SIZE // stride) ** 2
            distance = distance.reshape(-1, 4, count).transpose(1, 2).float() * stride
            boxes.append(torch.cat([centre - distance[..., :2], centre + distance[..., 2:]], -1))
            logits.append(cls.reshape(-1, len(CLASSES), count).transpose(1, 2).float())
        return torch.cat(boxes, 1), torch.cat(logits, 1)


def anchors(stride: int) -> Tensor:
    """Cell centres of one level, row by row: (A, 2) x, y in network pixels."""
    line = (np.arange(SIZE // stride, dtype=np.float32) + 0.5) * stride
    x, y = np.meshgrid(line, line)
    return torch.from_numpy(np.stack([x.ravel(), y.ravel()], 1))


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution and a frozen batch norm as one convolution.

    The new weights are w g / s, the new bias b - m g / s; s is the standard deviation.
    """
    out = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        groups=conv.groups,
    )
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    out.weight.data = conv.weight.data * gain.data[:, None, None, None]
    out.bias.data = norm.bias.data - norm.running_mean * gain.data
    return out


def folded(network: Network) -> Network:
    """Fold every batch norm of `network`, in place, and return the network."""
    for module in network.modules():
        if isinstance(module, Conv) and isinstance(module[1], nn.BatchNorm2d):
            module[0], module[1] = fold(module[0], module[1]), nn.Identity()
    return network


def macs(network: nn.Module) -> int:
    """Multiply-accumulates of all convolutions for one image."""
    total = 0

    def count(module: nn.Conv2d, _: object, output: Tensor) -> None:
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, SIZE, SIZE))
    for hook in hooks:
        hook.remove()
    return total
