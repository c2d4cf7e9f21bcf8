"""The training loss, on a task-aligned assignment (TOOD, Feng et al. 2021)."""

import math

import torch
from torch import Tensor
from torch.nn import functional

TOP_ANCHORS = 10
"""The most anchors that learn one box."""
ALPHA, BETA = 0.5, 6.0
"""Exponents of score and overlap in the alignment metric."""
BOX_WEIGHT = 2.5


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes x1, y1, x2, y2 whose leading dimensions broadcast."""
    side = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(
        min=0
    )
    both = side[..., 0] * side[..., 1]
    size_a, size_b = (a[..., 2:] - a[..., :2]).clamp(min=0), (b[..., 2:] - b[..., :2]).clamp(min=0)
    return both / (size_a.prod(-1) + size_b.prod(-1) - both + 1e-7)


def complete_overlap(a: Tensor, b: Tensor) -> Tensor:
    """CIoU (Zheng et al. 2020) of boxes (M, 4) and (M, 4).

    CIoU is the IoU less the centre distance and the aspect difference.
    """
    iou = overlap(a, b)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    gap = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).square().sum(-1) / (
        hull.square().sum(-1) + 1e-7
    )
    size_a, size_b = (a[:, 2:] - a[:, :2]).clamp(min=1e-3), (b[:, 2:] - b[:, :2]).clamp(min=1e-3)
    turn = torch.atan(size_b[:, 0] / size_b[:, 1]) - torch.atan(size_a[:, 0] / size_a[:, 1])
    aspect = 4 / math.pi**2 * turn.square()
    with torch.no_grad():
        weight = aspect / (1 - iou + aspect + 1e-7)
    return iou - gap - weight * aspect


@torch.no_grad()
def assign(
    boxes: Tensor, scores: Tensor, centres: Tensor, image: Tensor, truth: Tensor, kinds: Tensor
) -> tuple[Tensor, Tensor]:
    """Assign boxes to anchors.

    Predictions are `boxes` (N, A, 4), `scores` (N, A, C) in 0..1 and `centres` (A, 2). All images
    together have M boxes: `image` (M,) int64, `truth` (M, 4) in network pixels, `kinds` (M,) int64.

    Returns for each anchor the index of its box (N, A), -1 for none, and its target score (N, A).
    The target is the alignment, scaled: each box's best anchor reaches that box's best overlap.
    """
    count = len(image)
    side = torch.cat([centres - truth[:, None, :2], truth[:, None, 2:] - centres], -1)
    inside = side.amin(-1) > 1e-3
    iou = overlap(truth[:, None], boxes[image]) * inside
    metric = scores.transpose(1, 2)[image, kinds].pow(ALPHA) * iou.pow(BETA)
    # A box without a matching anchor gets those nearest to its centre. 1e-9 is below any metric.
    distance = (centres - (truth[:, None, :2] + truth[:, None, 2:]) / 2).square().sum(-1)
    best = ((metric + 1e-9 / (1 + distance)) * inside).topk(TOP_ANCHORS, -1)
    chosen = torch.zeros_like(inside).scatter_(1, best.indices, best.values > 0)
    # An anchor that several boxes chose goes to the box with the most overlap; ties to the last.
    value = (iou + 1e-9) * chosen
    rows = image[:, None].expand_as(value)
    most = torch.zeros(scores.shape[:2]).scatter_reduce_(0, rows, value, "amax")
    wins = chosen & (value >= most[image])
    index = torch.arange(count)[:, None].expand_as(value)
    owner = torch.full(scores.shape[:2], -1).scatter_reduce_(
        0, rows, torch.where(wins, index, -1), "amax"
    )
    metric, iou = metric * wins, iou * wins
    score = metric / (metric.amax(-1, keepdim=True) + 1e-12) * iou.amax(-1, keepdim=True)
    return owner, torch.zeros(scores.shape[:2]).scatter_reduce_(0, rows, score, "amax")


def loss(
    boxes: Tensor, logits: Tensor, centres: Tensor, labels: Tensor, focal: bool
) -> tuple[Tensor, Tensor]:
    """Class and box loss of a batch, scalars to be added.

    Predictions are (N, A, 4) and (N, A, C); anchor `centres` are (A, 2). `labels` (N, G, 6) hold
    the box, the class (-1 for padding), and 1 if ignored. An ignored box is not learnt, and no
    anchor within it is taught to be background.

    `focal` weighs background by the square of its score (varifocal, Zhang et al. 2021). The network
    then learns fast from few objects. But an anchor that is right one time in ten says 0.4: the
    last steps use plain cross-entropy.
    """
    image, slot = ((labels[..., 4] >= 0) & (labels[..., 5] == 0)).nonzero(as_tuple=True)
    truth, kinds = labels[image, slot, :4], labels[image, slot, 4].long()
    owner, target = assign(boxes.detach(), logits.detach().sigmoid(), centres, image, truth, kinds)
    hit = owner >= 0
    goal = torch.zeros_like(logits)
    row, anchor = hit.nonzero(as_tuple=True)
    box = owner[row, anchor]
    goal[row, anchor, kinds[box]] = target[hit]
    total = target.sum().clamp(min=1.0)
    with torch.no_grad():
        background = 0.75 * logits.sigmoid().square()
        weight = torch.where(goal > 0, goal, background) if focal else torch.ones_like(goal)
        for i, j in (labels[..., 5] > 0).nonzero():
            low, high = labels[i, j, :2], labels[i, j, 2:4]
            weight[i, ((centres > low) & (centres < high)).all(-1) & ~hit[i]] = 0
    cls = (
        functional.binary_cross_entropy_with_logits(logits, goal, reduction="none") * weight
    ).sum() / total
    fit = complete_overlap(boxes[row, anchor], truth[box])
    return cls, BOX_WEIGHT * ((1 - fit) * target[hit].clamp(min=0.05)).sum() / total
