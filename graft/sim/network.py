"""Links between members: each way of each pair is a link of its own, and each can be broken in its own way.

A link may lose, repeat and delay messages (so they overtake each other), carry only so many at a time, be clogged
(messages wait and come in a burst later), or be cut. A cut also takes what is on its way. Cuts are counted, so that
partitions that overlap heal one by one. `deaf` loses only answers: the half-open connection, where requests arrive and
nothing comes back.

Rates are in thousandths. Every message costs the same number of draws whatever the rates are, so that taking a fault
out of a plan does not shift the noise of the messages before it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import frozen

from graft.sim.entropy import Entropy
from graft.sim.heap import Heap

Pair = tuple[str, str]  # (source, target), ids of members
Deliver = Callable[[str, str, Any], None]


@frozen
class Rates:
    """What every link does all the time. `queue`: messages on their way at a time, more are lost."""

    drop: int = 0  # thousandths
    duplicate: int = 0  # thousandths
    delay_us: int = 1_000  # mean of an exponential distribution, on top of `floor_us`
    floor_us: int = 50
    queue: int = 1_000_000


CALM = Rates()


class _Link:
    __slots__ = ("clogs", "cuts", "deaf", "flying", "held", "rates", "recent")

    def __init__(self) -> None:
        self.rates: Rates | None = None  # None: those of the network
        self.cuts = 0
        self.clogs = 0
        self.deaf = 0
        self.flying = 0
        self.held: list[Any] = []
        self.recent: deque[Any] | None = None  # None: not recorded


class Network:
    """`deliver(source, target, message)` is called when a message arrives. `fired` counts faults that hit something."""

    def __init__(
        self,
        heap: Heap,
        entropy: Entropy,
        deliver: Deliver,
        fired: Counter[str],
        *,
        is_answer: Callable[[Any], bool] = lambda message: False,
    ) -> None:
        self.rates = CALM
        self._heap = heap
        self._entropy = entropy
        self._deliver = deliver
        self._fired = fired
        self._is_answer = is_answer
        self._links: dict[Pair, _Link] = {}

    def send(self, source: str, target: str, message: Any) -> None:
        link = self._links.get((source, target))
        if link is None:
            link = self._link((source, target))
        rates, heap = link.rates or self.rates, self._heap
        if link.recent is not None:
            link.recent.append(message)
        noise = self._entropy.u64()
        delay = rates.floor_us + self._entropy.exponential(rates.delay_us)
        if link.cuts:
            self._fired["net.cut"] += 1
        elif link.deaf and self._is_answer(message):
            self._fired["net.deaf"] += 1
        elif (noise & 0xFFFFF) * 1000 >> 20 < rates.drop:
            self._fired["net.drop"] += 1
        elif link.flying >= rates.queue:
            self._fired["net.overflow"] += 1
        else:
            link.flying += 1
            heap.after(delay, self._arrive, link, source, target, message)
            if (noise >> 20 & 0xFFFFF) * 1000 >> 20 < rates.duplicate:
                self._fired["net.duplicate"] += 1
                link.flying += 1
                # 24 more bits of the same draw: the copy comes between at once and twenty times the mean later.
                later = rates.floor_us + (rates.delay_us * 20 * (noise >> 40) >> 24)
                heap.after(later, self._arrive, link, source, target, message)

    def _arrive(self, link: _Link, source: str, target: str, message: Any) -> None:
        link.flying -= 1
        if link.cuts:
            self._fired["net.cut"] += 1
        elif link.clogs:
            self._fired["net.clog"] += 1
            link.held.append(message)
        else:
            self._deliver(source, target, message)

    def cut(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            self._link(pair).cuts += 1

    def heal(self, pairs: Iterable[Pair]) -> None:
        """Undo one `cut` of the same pairs."""
        for pair in pairs:
            link = self._link(pair)
            link.cuts -= 1
            assert link.cuts >= 0, "healed more often than cut"

    def deafen(self, pairs: Iterable[Pair]) -> None:
        """Lose what answers something on these links, and deliver the rest."""
        for pair in pairs:
            self._link(pair).deaf += 1

    def undeafen(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            self._link(pair).deaf -= 1

    def clog(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            self._link(pair).clogs += 1

    def unclog(self, pairs: Iterable[Pair]) -> None:
        """Undo one `clog`; what was held comes in a burst, in the order in which it came to the clog."""
        for source, target in pairs:
            link = self._link((source, target))
            link.clogs -= 1
            if link.clogs == 0:
                held, link.held = link.held, []
                for message in held:
                    link.flying += 1
                    self._heap.after(0, self._arrive, link, source, target, message)

    def record(self, pair: Pair) -> None:
        """Keep the newest messages of the link for a `replay`."""
        self._link(pair).recent = deque(maxlen=12)

    def replay(self, pair: Pair, within_us: int) -> None:
        """Deliver what was recorded once more, spread over the time to come: very late duplicates."""
        link = self._link(pair)
        recorded, link.recent = link.recent or (), None
        for message in recorded:
            self._fired["net.replayed"] += 1
            link.flying += 1
            self._heap.after(self._entropy.below(within_us + 1), self._arrive, link, *pair, message)

    def heal_all(self, members: Sequence[str]) -> None:
        """Every link between these members works again, and from now on well; what was held is lost."""
        for source in members:
            for target in members:
                link = self._link((source, target))
                link.cuts = link.clogs = link.deaf = 0
                link.held.clear()
                link.rates = CALM

    def is_whole(self, one: str, other: str) -> bool:
        """Messages may pass between the two, in both directions."""
        links = (self._link((one, other)), self._link((other, one)))
        return not any(link.cuts or link.clogs or link.deaf for link in links)

    def _link(self, pair: Pair) -> _Link:
        link = self._links.get(pair)
        if link is None:
            link = self._links[pair] = _Link()
        return link


def both_ways(left: Iterable[str], right: Iterable[str]) -> list[Pair]:
    """Every link between the two sides, in both directions."""
    others = list(right)
    return [pair for a in left for b in others for pair in ((a, b), (b, a))]


def _split(members: list[str], size: int, entropy: Entropy) -> list[Pair]:
    chosen = entropy.sample(members, size)
    return both_ways(sorted(chosen), [m for m in members if m not in chosen])


def uniform_size(members: list[str], entropy: Entropy) -> list[Pair]:
    """Two sides; every size of the smaller side is as likely as every other."""
    return _split(members, entropy.between(1, max(1, len(members) // 2)), entropy)


def uniform_membership(members: list[str], entropy: Entropy) -> list[Pair]:
    """Two sides; each member tosses a coin."""
    left = [m for m in members if entropy.chance(500)]
    return both_ways(left, [m for m in members if m not in left])


def isolate(members: list[str], entropy: Entropy) -> list[Pair]:
    """One member alone."""
    return _split(members, 1, entropy)


def send_only(members: list[str], entropy: Entropy) -> list[Pair]:
    """One member that is heard and hears nothing."""
    victim = entropy.choice(members)
    return [(m, victim) for m in members if m != victim]


def receive_only(members: list[str], entropy: Entropy) -> list[Pair]:
    """One member that hears and is not heard."""
    victim = entropy.choice(members)
    return [(victim, m) for m in members if m != victim]


def one_way(members: list[str], entropy: Entropy) -> list[Pair]:
    """A single direction of a single pair."""
    source, target = entropy.sample(members, 2)
    return [(source, target)]


def bridge(members: list[str], entropy: Entropy) -> list[Pair]:
    """Two sides that only one member in the middle can talk to."""
    order = entropy.sample(members, len(members))
    half = (len(order) - 1) // 2
    return both_ways(order[1 : 1 + half], order[1 + half :])


def ring(members: list[str], entropy: Entropy) -> list[Pair]:
    """Every member sees a majority, and no two the same one: neighbours on a circle."""
    order = entropy.sample(members, len(members))
    count = len(order)
    reach = (count // 2 + 1) // 2
    near = {(i, (i + step) % count) for i in range(count) for step in range(-reach, reach + 1)}
    return [(order[i], order[j]) for i in range(count) for j in range(count) if (i, j) not in near]


SHAPES: dict[str, Callable[[list[str], Entropy], list[Pair]]] = {
    "uniform_size": uniform_size,
    "uniform_membership": uniform_membership,
    "isolate": isolate,
    "send_only": send_only,
    "receive_only": receive_only,
    "one_way": one_way,
    "bridge": bridge,
    "ring": ring,
}
