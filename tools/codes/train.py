"""Training on a CPU: AdamW in bfloat16, with averaged weights.

The learning rate has a warm-up, a plateau, and a cosine at its end.

There is one process for each core. The processes meet once a step, to average their gradients.
Threads would meet in every layer, and be slower on a shared machine.
"""

import copy
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from tools.codes import STRIDES
from tools.codes.augment import batches
from tools.codes.dataset import Dataset
from tools.codes.loss import loss
from tools.codes.network import Network, anchors

SAVE_EVERY = 100


@dataclass
class Recipe:
    """The settings of a run. The defaults are those of the shipped file."""

    steps: int = 8650
    batch: int = 24
    rate: float = 3e-3
    """Learning rate on the plateau."""
    final: float = 0.01
    """Last learning rate, as a share of `rate`."""
    warm_up: int = 150
    """Length of the warm-up, in steps."""
    knots: tuple[tuple[float, float], ...] = (
        (1800, 0.0),
        (2400, 0.5),
        (2900, 0.65625),
        (3399, 0.9013),
        (3400, 0.742857),
        (3999, 0.9995),
        (4000, 0.72),
        (4350, 1.0),
        (4400, 0.5),
        (6750, 1.0),
        (6790, 0.6),
        (7850, 1.0),
        (7880, 0.62),
        (8650, 1.0),
    )
    """Steps, and the rate's place on the cosine at each, from 0 to 1.

    A plateau comes first, then a fall, which was slowed when there was time for more steps. Two
    shorter falls and three restarts follow. Mosaics and focal weights last as long as the plateau.
    """
    decay: float = 0.02
    ema: float = 0.998
    jobs: int = 2
    """The number of processes, of one thread each."""


def plateau_end(recipe: Recipe) -> int:
    """The step at which the rate begins to fall."""
    return round(recipe.knots[0][0] * recipe.steps / recipe.knots[-1][0])


def rate(step: int, recipe: Recipe) -> float:
    """Learning rate at a step."""
    if step < recipe.warm_up:
        return recipe.rate * (step + 1) / recipe.warm_up
    t = float(
        np.interp(step * recipe.knots[-1][0] / recipe.steps, *zip(*recipe.knots, strict=True))
    )
    return recipe.rate * (recipe.final + (1 - recipe.final) * (1 + math.cos(math.pi * t)) / 2)


@torch.no_grad()
def follow(average: Network, network: Network, keep: float) -> None:
    """Move the averaged weights and running statistics towards the current ones, in place."""
    for a, b in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if a.dtype.is_floating_point:
            a.lerp_(b, 1 - keep)
        else:
            a.copy_(b)


def share(network: Network) -> None:
    """Average the gradients over all processes, in place."""
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))


def step_loss(
    network: Network, images: Tensor, labels: Tensor, centres: Tensor, focal: bool
) -> tuple[Tensor, Tensor]:
    """Class and box loss of a batch of uint8 images (N, S, S, 3) and labels (N, G, 6)."""
    x = images.permute(0, 3, 1, 2).float() / 255
    with torch.autocast("cpu", torch.bfloat16):
        boxes, logits = network(x)
    return loss(boxes, logits, centres, labels, focal)


def optimizer_of(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW that leaves norms and biases undecayed."""
    plain = [p for p in network.parameters() if p.ndim < 2]
    heavy = [p for p in network.parameters() if p.ndim >= 2]
    groups = [
        {"params": plain, "weight_decay": 0.0},
        {"params": heavy, "weight_decay": recipe.decay},
    ]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.99))


def work(part: int, folder: Path, out: Path, recipe: Recipe, seed: int) -> None:
    """One process of a run."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    torch.distributed.init_process_group(
        "gloo", f"file://{out / 'meeting'}", rank=part, world_size=recipe.jobs
    )
    network: nn.Module = Network().to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(network).eval()
    optimizer = optimizer_of(network, recipe)
    first, seconds = 0, 0.0
    if (out / "state.pt").exists():
        state = torch.load(out / "state.pt", weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first, seconds = state["step"], state["seconds"]
    centres = torch.cat([anchors(stride) for stride in STRIDES])
    feed = batches(
        Dataset(folder),
        recipe.batch,
        first,
        recipe.steps,
        plateau_end(recipe),
        seed,
        part,
        recipe.jobs,
    )
    began, sums = time.monotonic() - seconds, torch.zeros(2)
    for step, (images, labels) in enumerate(feed, first):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, recipe)
        pictures, rows = torch.from_numpy(images), torch.from_numpy(labels)
        cls, box = step_loss(network, pictures, rows, centres, step < plateau_end(recipe))
        optimizer.zero_grad(set_to_none=True)
        (cls + box).backward()
        share(network)
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        follow(average, network, min(recipe.ema, (step + 1) / (step + 10)))
        sums += torch.stack([cls.detach(), box.detach()])
        done, seconds = step + 1, time.monotonic() - began
        if part == 0 and (done % SAVE_EVERY == 0 or done == recipe.steps):
            mean, speed = (
                [round(v / SAVE_EVERY, 3) for v in sums.tolist()],
                done * recipe.batch / seconds,
            )
            print(
                f"step {done}/{recipe.steps}  class and box loss {mean}  {speed:.1f} images/s",
                flush=True,
            )
            sums.zero_()
            state = {
                "network": network.state_dict(),
                "average": average.state_dict(),
                "step": done,
                "optimizer": optimizer.state_dict(),
                "seconds": seconds,
            }
            torch.save(state, out / "state.tmp")
            (out / "state.tmp").replace(out / "state.pt")
            torch.save(average.state_dict(), out / "weights.tmp")
            (out / "weights.tmp").replace(out / "weights.pt")
    torch.distributed.destroy_process_group()


def train(folder: Path, out: Path, recipe: Recipe, seed: int) -> None:
    """Train on the split in `folder`.

    Writes `weights.pt`, the averaged weights, and `train.json` into `out`. An interrupted run goes
    on from its last save, with the same result.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "meeting").unlink(missing_ok=True)
    torch.multiprocessing.spawn(work, (folder, out, recipe, seed), recipe.jobs)
    seconds = torch.load(out / "state.pt", weights_only=True)["seconds"]
    (out / "train.json").write_text(
        json.dumps(asdict(recipe) | {"seed": seed, "train_seconds": round(seconds)})
    )
