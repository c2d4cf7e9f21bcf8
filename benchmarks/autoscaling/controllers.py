"""KEDA and the HorizontalPodAutoscaler, as they decide on a number of pods.

Sources: Kubernetes 1.36, `pkg/controller/podautoscaler/horizontal.go`; KEDA 2.19,
`pkg/scaling/executor`. Both were compared with a run on a real control plane: see `recorded.py`.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

_MANIFEST = Path("k8s/components/keda/worker.yaml")
#: The HPA's tolerance. A ratio of wish to pods within it changes nothing.
_TOLERANCE = 0.1


@dataclass(frozen=True)
class Policy:
    """How fast the number of pods may change."""

    #: `Pods` or `Percent`.
    kind: str
    value: float
    period_s: float

    def limit(self, pods: int, sign: int) -> int:
        """The bound after one period that began with `pods`; `sign` is 1 for up, -1 for down."""
        if self.kind == "Pods":
            return pods + sign * int(self.value)
        changed = pods * (1 + sign * self.value / 100)
        return math.ceil(changed) if sign > 0 else math.floor(changed)


@dataclass(frozen=True)
class Rules:
    """One direction of the HPA's behaviour."""

    window_s: float
    #: Empty: the rule of an HPA without a behaviour, which is double or four pods up, all down.
    policies: tuple[Policy, ...] = ()

    @classmethod
    def parse(cls, rules: Mapping[str, Any]) -> Self:
        """Read `behavior.scaleUp` or `behavior.scaleDown` of a manifest."""
        policies = tuple(
            Policy(policy["type"], policy["value"], policy["periodSeconds"])
            for policy in rules["policies"]
        )
        return cls(rules["stabilizationWindowSeconds"], policies)


@dataclass(frozen=True)
class Scaling:
    """The numbers of a ScaledObject. Lengths count predictions, times are in seconds."""

    list_length: int
    polling_s: float
    cooldown_s: float
    min_pods: int
    max_pods: int
    up: Rules
    down: Rules
    #: The trigger on `{queue}:recent` holds one pod for so long after a submission.
    recent_s: float = 120.0

    @classmethod
    def from_manifest(cls, path: Path = _MANIFEST) -> Self:
        """The numbers of the component `keda`."""
        spec = yaml.safe_load(path.read_text())["spec"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        return cls(
            list_length=int(spec["triggers"][0]["metadata"]["listLength"]),
            polling_s=spec["pollingInterval"],
            cooldown_s=spec["cooldownPeriod"],
            min_pods=spec["minReplicaCount"],
            max_pods=spec["maxReplicaCount"],
            up=Rules.parse(behavior["scaleUp"]),
            down=Rules.parse(behavior["scaleDown"]),
        )


@dataclass
class Keda:
    """From zero to one pod, and from any number to zero."""

    scaling: Scaling
    _last_active_s: float = -math.inf

    def decide(self, now_s: float, pods: int, active: bool) -> int:
        """The number of pods after a look at the triggers."""
        if active:
            self._last_active_s = now_s
            return pods or 1
        idle_s = now_s - self._last_active_s
        return 0 if self.scaling.min_pods == 0 and idle_s > self.scaling.cooldown_s else pods


@dataclass
class Hpa:
    """From one pod to many, and back to one."""

    scaling: Scaling
    #: Time in seconds, and the wish.
    _wishes: deque[tuple[float, int]] = field(default_factory=deque)
    #: Time in seconds, and the change.
    _changes: deque[tuple[float, int]] = field(default_factory=deque)

    def decide(self, now_s: float, pods: int, live: int, recent: int) -> int:
        """The number of pods after one synchronisation.

        `live` predictions are queued or running; `recent` is 1 after a submission, else 0. An HPA
        with no pods is disabled.
        """
        if pods == 0:
            return 0
        wish = max(self._proposal(pods, live, self.scaling.list_length), recent, 1)
        wish = min(max(wish, self.scaling.min_pods), self.scaling.max_pods)
        chosen = self._within_rules(now_s, pods, self._stabilised(now_s, pods, wish))
        if chosen != pods:
            self._changes.append((now_s, chosen - pods))
        return chosen

    @staticmethod
    def _proposal(pods: int, value: int, target: int) -> int:
        if abs(value / (target * pods) - 1) <= _TOLERANCE:
            return pods
        return math.ceil(value / target)

    def _stabilised(self, now_s: float, pods: int, wish: int) -> int:
        """The lowest wish of the window for more pods, the highest for fewer."""
        up, down = self.scaling.up.window_s, self.scaling.down.window_s
        self._wishes.append((now_s, wish))
        while self._wishes[0][0] < now_s - max(up, down):
            self._wishes.popleft()
        most = min(wish_then for then_s, wish_then in self._wishes if then_s >= now_s - up)
        least = max(wish_then for then_s, wish_then in self._wishes if then_s >= now_s - down)
        return min(max(pods, most), max(least, most))

    def _within_rules(self, now_s: float, pods: int, wish: int) -> int:
        if wish == pods:
            return pods
        sign = 1 if wish > pods else -1
        rules = self.scaling.up if sign > 0 else self.scaling.down
        if not rules.policies:
            return min(wish, max(2 * pods, 4)) if sign > 0 else wish
        limits = [
            policy.limit(pods - self._changed(now_s, policy.period_s), sign)
            for policy in rules.policies
        ]
        if sign > 0:
            return max(pods, min(wish, max(limits)))
        return min(pods, max(wish, min(limits)))

    def _changed(self, now_s: float, period_s: float) -> int:
        """Pods that were added less those that were removed within the last period."""
        longest = max((policy.period_s for policy in self._policies()), default=0.0)
        while self._changes and self._changes[0][0] <= now_s - longest:
            self._changes.popleft()
        return sum(change for then_s, change in self._changes if then_s > now_s - period_s)

    def _policies(self) -> Iterable[Policy]:
        return (*self.scaling.up.policies, *self.scaling.down.policies)
