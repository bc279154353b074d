"""Scenario scripts: commands and what they lead to, in text that anybody who knows Raft can review.

    === Title of a scenario
    # what it shows
    > command
    output

`python -m tests.raft.scenario --rewrite [FILE...]` writes what happens into the files: review the difference. The
commands are the functions of `COMMANDS` below; README.txt beside the scripts explains them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve, fields

from graft.raft import Config, Configuration, Member
from graft.raft import effects as fx
from graft.raft import events as ev
from graft.raft.messages import Message
from graft.raft.trace import configuration_text, line
from tests.raft.cluster import Cluster

DIRECTORY = Path(__file__).parent / "scenarios"
ALWAYS = (
    fx.ReportRole,
    fx.ReportMembership,
    fx.AcceptProposal,
    fx.RefuseProposal,
    fx.AnswerRead,
    fx.RefuseRead,
    fx.AnswerRequest,
    fx.ApplyEntries,
    fx.TakeSnapshot,
    fx.DropSnapshot,
    fx.SwitchToSnapshot,
    fx.PurgeLog,
    fx.ReportForgotten,
    fx.Stop,
)
DISK = (fx.Persist, fx.ReadEntries, fx.DropHeld)


class Script:
    """Runs one scenario. `out` collects the lines of the command that is running."""

    def __init__(self) -> None:
        self.cluster: Cluster | None = None
        self.logs: dict[str, tuple[int, ...]] = {}
        self.term: int | None = None
        self.settings: dict[str, Any] = {}
        self.config = Config("")
        self.out: list[str] = []
        self.shown: tuple[type, ...] = ALWAYS
        self.quietly = False
        self.kept: list[Message] = []

    def run(self, command: str) -> list[str]:
        self.out = []
        self.quietly = False
        word, *rest = command.split()
        COMMANDS[word](self, *rest)
        if self.cluster is not None:
            self.cluster.collect()
        return [] if self.quietly else self.out

    @property
    def c(self) -> Cluster:
        assert self.cluster is not None, "the script must begin with `cluster`"
        return self.cluster

    def tell(self, id: str, event: ev.Event) -> None:
        self.c.tell(id, event)

    def next_request(self) -> int:
        self.c.requests += 1
        return self.c.requests

    # ---- setting the stage ----

    def set(self, *pairs: str) -> None:
        """`set name=value`: fields of Config."""
        assert self.cluster is None, "`set` comes before `cluster`"
        types = {f.name: type(getattr(Config(""), f.name)) for f in fields(Config)}
        for pair in pairs:
            name, value = pair.split("=")
            kind = types[name]
            self.settings[name] = value == "True" if kind is bool else kind(float(value))
        self.config = Config("", **self.settings)

    def log(self, id: str, *terms: str) -> None:
        """`log a 1 1 2`: what stands on a's disk before the start, by terms."""
        self.logs[id] = tuple(map(int, terms))

    def current_term(self, term: str) -> None:
        self.term = int(term)

    def start(self, *words: str) -> None:
        """`cluster a b c learners d executors e joining f`."""
        groups: dict[str, list[str]] = {"voters": [], "learners": [], "executors": [], "joining": []}
        group = "voters"
        for word in words:
            if word in groups:
                group = word
            else:
                groups[group].append(word)
        voters = groups.pop("voters")
        self.cluster = Cluster(*voters, **groups, config=self.config, logs=self.logs, term=self.term)  # type: ignore[arg-type]
        for id, server in self.cluster.servers.items():
            self._watch(id, server.carry_out)

    def _watch(self, id: str, carry_out: Callable[[list[fx.Effect], float], None]) -> None:
        def watched(effects: list[fx.Effect], now: float) -> None:
            for effect in effects:
                if isinstance(effect, self.shown):
                    self.out.append(f"  {id}: {line(effect)}")
            carry_out(effects, now)

        self.c[id].carry_out = watched  # type: ignore[method-assign]

    def show(self, what: str) -> None:
        self.shown = {"disk": ALWAYS + DISK, "default": ALWAYS, "nothing": ()}[what]

    # ---- messages ----

    def deliver(self, *words: str) -> None:
        """`deliver [a->b] [Type] [one] [quietly]`: and what they cause, until there is nothing left that matches."""
        self.quietly = "quietly" in words
        match = _filter(words)
        for _ in range(5000):
            message = next((m for m in self.c.wire if match(m)), None)
            if message is None:
                return
            self.c.wire.remove(message)
            gone = (message.source, message.target) in self.c.cut or not self.c[message.target].alive
            self.out.append(f"{line(message)}{'   LOST' if gone else ''}")
            self.c.pass_on(message)
            if "one" in words:
                return
        raise AssertionError("the members never stop talking")

    def drop(self, *words: str) -> None:
        first = next(filter(_filter(words), self.c.wire), None)
        lost = self.c.drop((lambda m: m is first) if "one" in words else _filter(words))
        self.out += [f"{line(m)}   LOST" for m in lost]

    def keep(self, *words: str) -> None:
        """Take messages off the wire; `again` puts them back, as often as wanted."""
        self.kept += self.c.drop(_filter(words))
        self.out += [f"{line(m)}   kept" for m in self.kept]

    def again(self, *words: str) -> None:
        for message in [m for m in self.kept if _filter(words)(m)]:
            self.out.append(f"{line(message)}   again")
            self.c.pass_on(message)

    def wire(self) -> None:
        self.out += [line(m) for m in self.c.wire]

    def cut(self, a: str, b: str) -> None:
        """One direction only."""
        self.c.cut.add((a, b))

    def partition(self, *words: str) -> None:
        """`partition a b | c`."""
        self.c.partition(*[group.split() for group in " ".join(words).split("|")])

    def heal(self) -> None:
        self.c.heal()

    # ---- time ----

    def expire(self, id: str) -> None:
        self.c.expire(id)

    def elect(self, id: str) -> None:
        self.quietly = True
        self.c.elect(id)

    def wait(self, seconds: str, *words: str) -> None:
        """Time passes, messages are delivered as they come. `wait 1 telling TYPE...`: and those are shown."""
        told, pass_on = set(words[1:]) if words[:1] == ("telling",) else set(), self.c.pass_on

        def watched(message: Message) -> None:
            if type(message).__name__ in told:
                self.out.append(line(message))
            pass_on(message)

        self.c.pass_on = watched  # type: ignore[method-assign]
        self.c.advance(float(seconds))
        self.c.pass_on = pass_on  # type: ignore[method-assign]

    def jump(self, seconds: str) -> None:
        """Time passes and nobody notices (all processes are paused)."""
        self.c.now += float(seconds)

    def starve(self, id: str, seconds: str) -> None:
        """`starve a 2`: a's loop got no time for so long, and is run again."""
        self.c.now += float(seconds)
        self.tell(id, ev.Starved(float(seconds)))
        self.tell(id, ev.DeadlinePassed())

    def wake(self, id: str) -> None:
        self.tell(id, ev.DeadlinePassed())

    # ---- clients and operators ----

    def propose(self, id: str, *texts: str) -> None:
        for text in texts:
            self.c.propose(id, "x" * int(text[1:]) if text[0] == "*" else text)

    def batch(self, id: str, *texts: str) -> None:
        """All in one call."""
        events = [ev.Proposed(self.next_request(), text.encode()) for text in texts]
        server = self.c[id]
        server.carry_out(server.raft.handle_many(events, self.c.now), self.c.now)

    def read(self, id: str, *words: str) -> None:
        self.tell(id, ev.ReadRequested(self.next_request(), lease="lease" in words))

    def change(self, id: str, *words: str) -> None:
        """`change a add d, remove b`; `add d as executor`, `add d incarnation 2`."""
        changes = []
        for text in " ".join(words).split(","):
            op, member, *more = text.split()
            options = dict(zip(more[::2], more[1::2], strict=True))
            incarnation = int(options.get("incarnation", "1" if op == "add" else "0"))
            changes.append(ev.Change(op, member, incarnation, options.get("as", "voter")))
        self.tell(id, ev.MembershipChangeRequested(self.next_request(), tuple(changes)))

    def transfer(self, id: str, target: str | None = None) -> None:
        self.tell(id, ev.TransferRequested(self.next_request(), target))

    def campaign(self, id: str) -> None:
        self.tell(id, ev.CampaignRequested())

    def compact(self, id: str, index: str) -> None:
        self.tell(id, ev.CompactionRequested(int(index)))

    def version(self, id: str, number: str) -> None:
        self.tell(id, ev.VersionRequested(self.next_request(), int(number)))

    def recover(self, id: str, *ids: str) -> None:
        members = tuple(Member(i, 1, "voter") for i in ids)
        self.tell(id, ev.QuorumRecoveryRequested(self.next_request(), Configuration(members)))

    # ---- processes and disks ----

    def crash(self, *ids: str) -> None:
        for id in ids:
            self.c[id].crash()

    def restart(self, *ids: str) -> None:
        for id in ids:
            self.c[id].crash()
            self.c[id].boot(self.c.now)

    def wipe(self, id: str, incarnation: str) -> None:
        """The disk is lost; the process comes back with an empty one and another incarnation."""
        server = self.c[id]
        from graft.raft import HardState

        server.config = evolve(server.config, incarnation=int(incarnation))
        server.disk_log, server.disk_hard, server.disk_first = {}, HardState(), 1
        server.disk_applied, server.disk_state, server.disk_staged = 0, [], None
        server.boot(self.c.now, restarted=False)

    def upgrade(self, id: str, version: str) -> None:
        self.c[id].config = evolve(self.c[id].config, max_version=int(version))
        self.restart(id)

    def disk(self, id: str, what: str, count: str = "0") -> None:
        """`disk a slow` holds writes back, `disk a sync [n]` syncs the first n, `disk a fast`, `disk a fail`."""
        server = self.c[id]
        if what == "fail":
            self.tell(id, ev.PersistFailed("Input/output error"))
            return
        server.auto_disk = what == "fast" or (what == "sync" and server.auto_disk)
        if what != "slow":
            server.sync(self.c.now, int(count) or None)

    def applier(self, id: str, what: str, count: str = "0") -> None:
        """`applier a slow`, `applier a step [n]`, `applier a fast`."""
        server = self.c[id]
        server.auto_apply = what == "fast"
        if what != "slow":
            server.apply(self.c.now, int(count) or None)

    def damage(self, id: str, *indices: str) -> None:
        """Bits rot on the disk; nobody has noticed yet."""
        self.c[id].damaged |= {int(i) for i in indices}

    def scrub(self, id: str, *indices: str) -> None:
        """The scrubber finds damage."""
        self.damage(id, *indices)
        for index in indices:
            self.tell(id, ev.CorruptionFound(int(index)))

    # ---- looking ----

    def status(self, *ids: str) -> None:
        for id, server in self.c.servers.items():
            if ids and id not in ids:
                continue
            s = server.raft.status()
            dead = "" if server.alive and not s.stopped else "   DOWN"
            self.out.append(
                f"{id}: {s.role} term {s.term}, log {s.first}..{s.last}, commit {s.commit}, "
                f"state {' '.join(server.state) or '-'}{dead}"
            )

    def logs_(self, *ids: str) -> None:
        for id in ids or tuple(self.c.servers):
            s = self.c[id].raft.state
            start = f" from {s.log.first}" if s.log.first > 1 else ""
            self.out.append(f"{id}: {' '.join(map(str, self.c.log_terms(id)))}{start} (commit {s.commit})")

    def members(self, *ids: str) -> None:
        for id in ids or tuple(self.c.servers):
            self.out.append(f"{id}: {configuration_text(self.c[id].raft.state.view.configuration)}")

    def followers(self, id: str) -> None:
        for p in self.c[id].raft.status().followers:
            self.out.append(f"{p.id}: {p.state}, match {p.match}, next {p.next}, in flight {p.inflight}")

    def disk_of(self, id: str) -> None:
        server = self.c[id]
        terms = " ".join(str(entry.term) for _, entry in sorted(server.disk_log.items()))
        hard = server.disk_hard
        self.out.append(f"{id} on disk: term {hard.term} vote {hard.vote or '-'} log {terms or '-'}")


def _filter(words: tuple[str, ...]) -> Callable[[Message], bool]:
    pairs = {word for word in words if "->" in word}
    types = {word for word in words if word[0].isupper()}

    def match(m: Message) -> bool:
        around = {f"{m.source}->{m.target}", f"->{m.target}", f"{m.source}->"}
        return (not pairs or bool(pairs & around)) and (not types or type(m).__name__ in types)

    return match


COMMANDS: dict[str, Callable[..., None]] = {
    "set": Script.set,
    "log": Script.log,
    "term": Script.current_term,
    "cluster": Script.start,
    "show": Script.show,
    "deliver": Script.deliver,
    "drop": Script.drop,
    "keep": Script.keep,
    "again": Script.again,
    "wire": Script.wire,
    "cut": Script.cut,
    "partition": Script.partition,
    "heal": Script.heal,
    "expire": Script.expire,
    "elect": Script.elect,
    "wait": Script.wait,
    "jump": Script.jump,
    "starve": Script.starve,
    "wake": Script.wake,
    "propose": Script.propose,
    "batch": Script.batch,
    "read": Script.read,
    "change": Script.change,
    "transfer": Script.transfer,
    "campaign": Script.campaign,
    "compact": Script.compact,
    "version": Script.version,
    "recover": Script.recover,
    "crash": Script.crash,
    "restart": Script.restart,
    "wipe": Script.wipe,
    "upgrade": Script.upgrade,
    "disk": Script.disk,
    "applier": Script.applier,
    "damage": Script.damage,
    "scrub": Script.scrub,
    "status": Script.status,
    "logs": Script.logs_,
    "members": Script.members,
    "followers": Script.followers,
    "disk-of": Script.disk_of,
}


def scenarios(text: str) -> dict[str, list[str]]:
    """Title -> lines of the scenario, without the title."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for text_line in text.splitlines():
        if text_line.startswith("=== "):
            title = text_line[4:]
            assert title not in found, f"two scenarios are called {title!r}"
            lines = found[title] = []
        else:
            lines.append(text_line)
    return found


def play(lines: list[str]) -> list[str]:
    """The scenario with the output that it really gives."""
    script = Script()
    result: list[str] = []
    for text_line in lines:
        if text_line.startswith("> "):
            result.append(text_line)
            result += script.run(text_line[2:])
        elif text_line.startswith("#") or (not text_line and result and result[-1]):
            result.append(text_line)
    return result


def rewrite(path: Path) -> bool:
    """True if the file changed."""
    old = path.read_text()
    parts = [f"=== {title}\n" + "\n".join(play(lines)).rstrip() + "\n" for title, lines in scenarios(old).items()]
    new = "\n".join(parts)
    path.write_text(new)
    return new != old


def main(arguments: list[str]) -> None:
    paths = [Path(name) for name in arguments if not name.startswith("-")] or sorted(DIRECTORY.glob("*.txt"))
    for path in paths:
        if "--rewrite" not in arguments:
            print("\n".join(play([p for part in scenarios(path.read_text()).values() for p in part])))
        elif rewrite(path):
            print(f"rewrote {path.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
