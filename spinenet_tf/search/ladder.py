"""The experiment: the nets of the paper's ladder from ResNet-50-FPN to SpineNet-49, and those of its ablations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from spinenet_tf._files.messages import unknown
from spinenet_tf.nets.graphs import R0_SP53, R23_SP30, R50_FPN, SPINENET
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.nets.style import Style
from spinenet_tf.search.damage import as_chain, without_long_edges, without_short_edges
from spinenet_tf.search.orders import FISH, HOURGLASS, with_random_connections
from spinenet_tf.search.proxy import with_width
from spinenet_tf.training.config import TrainConfig

SEEDS = 3  # trainings of a net
MORE = 5  # of a net whose spread is wanted, and of random connections
GROUPS = ("ladder", "equal_cost", "edges", "orders")


@dataclass(frozen=True)
class Rung:
    """One net of the experiment. Its graph may depend on the seed of its training."""

    name: str
    group: str  # one of `GROUPS`
    graph: Callable[[int], ArchitectureSpec]  # by seed
    published: float | None = None  # AP on COCO val2017 at 640 px, protocol A
    seeds: int = SEEDS
    width: float = 1.0  # times the proxy's width multiplier

    def scaled(self, config: TrainConfig) -> TrainConfig:
        """Return the config of a proxy at this net's width."""
        if self.width == 1.0:
            return config
        return with_width(config, config.model.overrides.get("width", Style.width) * self.width)


def _always(spec: ArchitectureSpec) -> Callable[[int], ArchitectureSpec]:
    return lambda seed: spec


# In the order of the experiment: the spread of one net comes first.
LADDER = (
    Rung("spinenet_49", "ladder", _always(SPINENET), 40.8, MORE),
    Rung("r0_sp53", "ladder", _always(R0_SP53), 40.7),
    Rung("r23_sp30", "ladder", _always(R23_SP30), 39.6),
    Rung("r50_fpn", "ladder", _always(R50_FPN), 37.8),
    # As many multiply-adds as r0_sp53 under the proxy `ladder`: within 0.3 %.
    Rung("spinenet_49_equal_cost", "equal_cost", _always(SPINENET), width=1.125),
    Rung("r50_fpn_equal_cost", "equal_cost", _always(R50_FPN), width=0.84),
    # The paper removes connections of R0-SP53.
    Rung("without_short_edges", "edges", _always(without_short_edges(R0_SP53)), 35.8),
    Rung("without_long_edges", "edges", _always(without_long_edges(R0_SP53)), 28.6),
    Rung("chain", "edges", _always(as_chain(R0_SP53)), 28.2),
    # The paper searched the connections of these orders; here they are random.
    Rung("hourglass", "orders", partial(with_random_connections, "hourglass", HOURGLASS), 38.3, MORE),
    Rung("fish", "orders", partial(with_random_connections, "fish", FISH), 37.5, MORE),
)


def chosen(names: Sequence[str] | None = None) -> tuple[Rung, ...]:
    """Return the nets with these names or of these groups, in the order of the experiment; None means all.

    Raises:
        ValueError: a name is unknown; the message lists the valid ones.
    """
    valid = [*GROUPS, *(rung.name for rung in LADDER)]
    if wrong := [name for name in names or () if name not in valid]:
        raise ValueError(f"{unknown('net', wrong, valid)} Received: {', '.join(wrong)}")
    return tuple(rung for rung in LADDER if names is None or rung.name in names or rung.group in names)
