"""The card a label space prints: how many labels, how uneven, from where, under which licence."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import entr


def entropy(shares: Float[np.ndarray, "V"]) -> float:
    """Entropy in nats of one distribution, -Σ_y p(y) log p(y) with 0 log 0 = 0."""
    return float(np.sum(entr(shares)))


def card(
    kind: str,
    head: Iterable[tuple[str, str]],
    shares: Float[np.ndarray, "V"],
    names: Sequence[str],
    of: str,
    origin: tuple[str, str],
) -> str:
    """Write a card: what is particular to the set first, then what every set has to state.

    Parameters
    ----------
    kind
        First line, the class.
    head
        Lines of the set's own: name and value.
    shares, names
        pop(y) of the labels and how they are called, for entropy and top-1 share; of several labels
        with the largest share the first is named.
    of
        What `shares` are the shares of, in a word or two.
    origin
        Source and licence: where the data come from and how they may be used.

    Examples
    --------
    >>> half = np.array([0.5, 0.5])
    >>> print(card("Coin", [("labels", "2")], half, "ht", "tosses", ("a mint", "free")))
    Coin
      labels       2
      entropy      0.693 nats (tosses)
      top-1 share  50.00% ('h')
      source       a mint
      licence      free
    """
    top = int(shares.argmax())
    lines = [
        *head,
        ("entropy", f"{entropy(shares):.3f} nats ({of})"),
        ("top-1 share", f"{shares[top]:.2%} ({names[top]!r})"),
        ("source", origin[0]),
        ("licence", origin[1]),
    ]
    return f"{kind}\n" + "\n".join(f"  {name:<12} {value}" for name, value in lines)
