"""Train architectures under a small proxy, compare them, and search for better ones."""

from typing import TYPE_CHECKING

from spinenet_tf._lazy import lazy_names

if TYPE_CHECKING:
    from spinenet_tf.search.config import SearchConfig
    from spinenet_tf.search.searching import Progress, SearchResult, load_search, run_search
    from spinenet_tf.search.space import RejectedArchitecture, SearchSpace

__all__ = [
    "Progress",
    "RejectedArchitecture",
    "SearchConfig",
    "SearchResult",
    "SearchSpace",
    "load_search",
    "run_search",
]

_HOMES = {
    "Progress": ".searching",
    "RejectedArchitecture": ".space",
    "SearchConfig": ".config",
    "SearchResult": ".searching",
    "SearchSpace": ".space",
    "load_search": ".searching",
    "run_search": ".searching",
}

if not TYPE_CHECKING:  # for a type checker, a module with `__getattr__` has every name
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
