"""What a member is told: one frozen record a section, in the order of the reference page.

Every field states its default and its meaning; see `graft.config.fields` for how, and for the units. A value here has
been checked, except for what depends on several settings at once: that is `graft.config.consistency`.
"""

# ruff: noqa: RUF009 - `setting` and `section` make attrs fields, so their result is not shared by the records

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from graft.config.fields import (
    Check,
    Seconds,
    Secret,
    Size,
    above,
    at_least,
    between,
    each_of,
    every,
    like,
    one_of,
    section,
    setting,
)

MIN_KEY_CHARS = 32
MIB = 2**20
GIB = 2**30
NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
HOST = r"(\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?)"
PORT = r"(6553[0-5]|655[0-2]\d|65[0-4]\d\d|6[0-4]\d{3}|[1-5]\d{4}|[1-9]\d{0,3})"
ADDRESS = rf"{HOST}:{PORT}"
MEMBER_PORT = 7400

is_name = like(NAME, "1 to 63 letters, digits, '.', '_' or '-', beginning and ending with a letter or digit")
is_port = between(0, 65535)
is_address = like(rf"({ADDRESS})?", "an address such as graft-0.example.org:7400")
is_host = like(r"[0-9A-Fa-f:.%a-z]+|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", "an IP address or a host name")
is_peer = like(rf"({NAME}=)?{HOST}(:{PORT})?", "an address such as 10.0.0.1:7400, or graft-0=10.0.0.1:7400")
is_listener = like(rf"unix:.+|{HOST}:(0|{PORT})", "an address such as 0.0.0.0:7401, or unix:/run/graft.sock")
is_http_listener = like(rf"({HOST}:(0|{PORT}))?", "an address such as 127.0.0.1:7480")
is_fraction = between(0, 1)
SERIES = re.compile(r"(.*)\{(0|[1-9]\d{0,5})\.\.(0|[1-9]\d{0,5})\}(.*)")
MAX_SERIES = 99
TLS_VERSIONS = ("1.2", "1.3")
ROLES = ("voter", "executor")
LEVELS = ("debug", "info", "warning", "error")


def long_enough(key: Secret) -> str | None:
    """A check. It does not tell the key."""
    return None if not key or len(key.reveal()) >= MIN_KEY_CHARS else f"at least {MIN_KEY_CHARS} characters"


def names_of(text: str) -> tuple[str, ...]:
    """The names that one item of `founders` stands for: itself, or with `{0..2}` in it one for each number."""
    found = SERIES.fullmatch(text)
    if found is None:
        return (text,)
    before, first, last, after = found.groups()
    return tuple(f"{before}{number}{after}" for number in range(int(first), int(last) + 1)[: MAX_SERIES + 1])


def _founder_check() -> Check:
    wanted = (
        "a member's id such as graft-0, or a series of at most 99 such as graft-{0..2}, which is graft-0 to graft-2"
    )

    def check(text: str) -> str | None:
        names = names_of(text)
        is_right = 0 < len(names) <= MAX_SERIES and all(is_name(name) is None for name in names)
        return None if is_right else wanted

    return check


is_founder = _founder_check()


@frozen
class DnsSettings:
    """For `discovery.kind = "dns"`."""

    name: str = setting("", "The name to look up, such as `graft.example.org`.")
    port: int = setting(MEMBER_PORT, "The members' port; with `srv` the answer has it.", check=between(1, 65535))
    record: str = setting(
        "address",
        "`address`: A and AAAA records. `srv`: SRV records (needs the extra `dns`).",
        check=one_of("address", "srv"),
    )


@frozen
class MdnsSettings:
    """For `discovery.kind = "mdns"` (needs the extra `mdns`)."""

    service_type: str = setting(
        "_graft._tcp.local.",
        "The service type that members announce and look for.",
        check=like(r"_[A-Za-z0-9-]{1,15}\._tcp\.local\.", "a service type such as _graft._tcp.local."),
    )
    interfaces: tuple[str, ...] = setting((), "IP addresses of the interfaces to use; none: all of them.")


@frozen
class KubernetesSettings:
    """For `discovery.kind = "kubernetes"`. What is empty is taken from the pod's service account."""

    service: str = setting("", "The headless Service of the members; empty: `service_name`.")
    namespace: str = setting("", "Its namespace; empty: the pod's.")
    port_name: str = setting("", "The name of the members' port in it; empty: its first port.")
    api_server: str = setting("", "URL of the API server; empty: from KUBERNETES_SERVICE_HOST and _PORT.")
    token_file: str = setting("", "File of the bearer token, read for every request; empty: the service account's.")
    ca_file: str = setting("", "File of the API server's CA; empty: the service account's.")
    watch_timeout: Seconds = setting(
        Seconds(300), "How long one watch lasts before it is begun anew.", check=between(1, 3600, "s")
    )


@frozen
class DiscoverySettings:
    """How members find each other, and which of them may found the cluster."""

    kind: str = setting(
        "auto",
        "`static`, `dns`, `mdns`, `kubernetes`, `auto` (chooses one and says which), or the name of a plugin.",
        check=is_name,
    )
    peers: tuple[str, ...] = setting(
        (), "Addresses of members, `host:port` or `id=host:port`. Used by `static`.", reload=True, check=every(is_peer)
    )
    founders: tuple[str, ...] = setting(
        (),
        "The ids of the initial set: a new cluster is made only by all of them together. `graft-{0..2}` stands for "
        "graft-0, graft-1 and graft-2, as a StatefulSet of three replicas calls its pods.",
        check=every(is_founder),
    )
    expect: int = setting(
        0, "For development, in place of `founders`: found a cluster when so many have met.", check=between(0, 9)
    )
    interval: Seconds = setting(
        Seconds(10), "Time between two looks, where a kind has to poll.", reload=True, check=between(0.1, 3600, "s")
    )
    dns: DnsSettings = section(DnsSettings, "For `dns`.")
    mdns: MdnsSettings = section(MdnsSettings, "For `mdns`.")
    kubernetes: KubernetesSettings = section(KubernetesSettings, "For `kubernetes`.")
    options: Mapping[str, Any] = setting({}, "For a plugin: whatever it understands.")

    def initial_set(self) -> tuple[str, ...]:
        """The ids that `founders` names, each of a series."""
        return tuple(name for item in self.founders for name in names_of(item))


@frozen
class TransportSettings:
    """Where a member listens, and the limits of its connections."""

    listen_host: str = setting("127.0.0.1", "The interface for members and clients.", check=is_host)
    listen_port: int = setting(MEMBER_PORT, "The port for members and clients; 0: any free one.", check=is_port)
    client_listen: tuple[str, ...] = setting(
        (), "More addresses to listen on, `host:port` or `unix:/path`.", check=every(is_listener)
    )
    advertise_address: str = setting(
        "", "`host:port` at which other members reach this one; empty: the listen address.", check=is_address
    )
    connect_timeout: Seconds = setting(
        Seconds(5), "For a connection with its handshake, both ways.", check=between(0.05, 300, "s")
    )
    call_timeout: Seconds = setting(
        Seconds(60), "A call ends after so long, whatever deadline it names.", check=between(0.05, 3600, "s")
    )
    keepalive_interval: Seconds = setting(
        Seconds(10), "A silent connection is asked for a sign of life so often.", check=between(0.1, 3600, "s")
    )
    keepalive_timeout: Seconds = setting(
        Seconds(5), "And closed when none comes for so long.", check=between(0.1, 3600, "s")
    )
    reconnect_min: Seconds = setting(
        Seconds(0.1), "The first pause before a lost peer is dialled again.", check=between(0.01, 60, "s")
    )
    reconnect_max: Seconds = setting(Seconds(5), "The longest such pause.", check=between(0.01, 600, "s"))
    breaker_failures: int = setting(
        5,
        "After so many failures in a row messages for a peer are dropped, until it is there again.",
        check=at_least(1),
    )
    max_message_size: Size = setting(
        Size(16 * MIB),
        "Of one message, before and after it is unpacked. A log entry may have half of it.",
        check=between(64 * 1024, GIB, " bytes"),
    )
    compression: str = setting("gzip", "`gzip` or `none`.", check=one_of("gzip", "none"))
    compress_above: Size = setting(Size(4096), "Messages of at least so many bytes are compressed.", check=at_least(0))
    max_connections: int = setting(1024, "At once; more are refused.", check=at_least(1))
    max_calls: int = setting(256, "At once on one connection.", check=at_least(1))
    idle_timeout: Seconds = setting(
        Seconds(300), "A client's connection without calls is closed after so long.", check=above(0, "s")
    )


@frozen
class StorageSettings:
    """The data directory and what it may hold."""

    directory: str = setting(".graft", "The data directory. The variable GRAFT_DATA sets it, too.")
    quota: Size = setting(
        Size(16 * GIB),
        "What the store should hold. Near it new runs are refused: see [limits](limits.md).",
        check=at_least(16 * MIB, " bytes"),
    )
    map_size: Size = setting(
        Size(64 * GIB),
        "Address space reserved for it, at least twice the quota; four times it are taken in any case.",
        check=at_least(32 * MIB, " bytes"),
    )
    keep_log_entries: int = setting(
        10_000, "Applied entries kept for members that were away for a moment.", check=at_least(100)
    )
    snapshot_chunk: Size = setting(
        Size(256 * 1024), "Of a snapshot in one message.", check=between(4096, 2 * MIB, " bytes")
    )


def _default_slots() -> dict[str, int]:
    return {"run": 32, "exec": 32, "http": 128}


@frozen
class ResourcesSettings:
    """What this member offers to the steps."""

    roles: tuple[str, ...] = setting(
        ROLES,
        "`voter`: keeps the state and may lead. `executor`: runs steps. Without `voter` it is never promoted.",
        check=each_of(*ROLES),
    )
    total: int = setting(1024, "Attempts at once, of all kinds.", reload=True, check=at_least(0))
    slots: Mapping[str, int] = setting(
        _default_slots(), "Attempts at once of one kind of node: `{ run = 32 }`.", reload=True, check=every(at_least(0))
    )
    labels: Mapping[str, str] = setting({}, 'What steps ask for with `runs_on`: `{ gpu = "a100" }`.', reload=True)
    zone: str = setting("", "Where the member is; near members are preferred.", reload=True)
    worker_processes: int = setting(
        0, "Processes that run steps; 0: one a processor, at most 4.", check=between(0, 256)
    )
    worker_user: str = setting("", "The user they run as, a name or a number; empty: the member's own.")
    worker_environment: tuple[str, ...] = setting(
        (),
        "Environment variables that they inherit beside the usual ones (PATH, HOME, LANG, …): names, or patterns with "
        "`*`. A secret that a flow takes from the environment has to be among them.",
    )
    threads: int = setting(64, "Plain Python functions at once in one process.", check=between(1, 4096))

    def kinds(self) -> tuple[tuple[str, int], ...]:
        """Total (`*`) and kinds, as a member registers them."""
        return (("*", self.total), *self.slots.items())


@frozen
class EngineSettings:
    """The clocks of consensus and of leases, and the limits of runs. Timeouts must be the same on all members."""

    election_timeout: Seconds = setting(
        Seconds(1), "Without a leader for so long, up to twice that, a voter stands.", check=between(0.05, 60, "s")
    )
    heartbeat: Seconds = setting(
        Seconds(0.1), "A leader's sign of life, at most a third of `election_timeout`.", check=between(0.01, 20, "s")
    )
    rpc_timeout: Seconds = setting(
        Seconds(0.5), "What was sent to a member and not answered is sent again.", check=between(0.02, 60, "s")
    )
    lease: Seconds = setting(
        Seconds(5),
        "A member that renews nothing for so long has lost its steps; it cancels them earlier, by `clock_drift`.",
        check=between(0.2, 3600, "s"),
    )
    grace: Seconds = setting(
        Seconds(1), "How much longer the others wait before they give its steps to another.", check=between(0, 600, "s")
    )
    clock_drift: float = setting(
        0.1, "One member's clock runs at most so much faster than another's (0.1: a tenth).", check=is_fraction
    )
    stop_grace: Seconds = setting(
        Seconds(5), "Between SIGTERM and SIGKILL of a step's processes.", check=between(0, 3600, "s")
    )
    drain_timeout: Seconds = setting(
        Seconds(30), "How long a member that is told to stop waits for its steps.", check=at_least(0, "s")
    )
    max_result_size: Size = setting(
        Size(MIB), "The result of one step as JSON.", check=between(1024, 64 * MIB, " bytes")
    )
    max_concurrent_workflows: int = setting(
        0, "Runs at once in the cluster; 0: no limit. Of the founders, when the cluster is made.", check=at_least(0)
    )
    node_execution_timeout: Seconds = setting(
        Seconds(0), "For steps without a `timeout`; 0: none. Of the founders.", check=at_least(0, "s")
    )
    retry_attempts: int = setting(
        0, "For steps without a `retry`; 0: they are not tried again. Of the founders.", check=between(0, 1000)
    )
    retry_backoff: Seconds = setting(
        Seconds(1), "The first pause of such a retry. Of the founders.", check=at_least(0, "s")
    )


@frozen
class SecuritySettings:
    """Certificates. Files that change are read again by themselves, within a second."""

    ca_file: str = setting("", "PEM file of the CA that signs members and clients.")
    cert_file: str = setting("", "PEM file of this member's certificate, with the chain.")
    key_file: str = setting("", "PEM file of its key.")
    key_password: Secret = setting(Secret(), "Of the key file.")
    secrets_key: Secret = setting(
        Secret(),
        "32 characters or more, the same on every member: seals secret params of runs in the log and the store.",
        check=long_enough,
    )
    tls_min_version: str = setting("1.3", "`1.2` or `1.3`.", check=one_of(*TLS_VERSIONS))
    tls_max_version: str = setting("1.3", "`1.2` or `1.3`.", check=one_of(*TLS_VERSIONS))
    ciphers: str = setting("", "For TLS 1.2, in OpenSSL's notation; empty: ECDHE with AES-GCM or ChaCha20.")
    plaintext: bool = setting(False, "No TLS at all. Only on loopback and Unix sockets.")
    force_plaintext: bool = setting(False, "Allow `plaintext` on other interfaces, too: anybody may do everything.")


@frozen
class ObservabilitySettings:
    """What a member tells about itself."""

    log_level: str = setting("info", "`debug`, `info`, `warning` or `error`.", reload=True, check=one_of(*LEVELS))
    log_format: str = setting(
        "auto",
        "`text`, with date, level and member; `json`, the same for a collector; `auto` is `text`.",
        reload=True,
        check=one_of("auto", "text", "json"),
    )
    http_listen: str = setting(
        "",
        "`host:port` for `/livez`, `/readyz` and `/metrics` over HTTP, such as 127.0.0.1:7480; port 0: any free one; "
        "empty: off. There is no TLS and everybody may read, so take an address that only your probes reach.",
        check=is_http_listener,
    )
    audit_file: str = setting("", "File for the audit lines; empty: among the logs.")


@frozen
class Settings:
    """All settings of a member."""

    node_id: str = setting("", "The member's id, unique in the cluster.", check=is_name, shown_default="the host name")
    service_name: str = setting("graft", "The cluster's name. Members of another name are refused.", check=is_name)
    discovery: DiscoverySettings = section(DiscoverySettings, "How members find each other.")
    transport: TransportSettings = section(TransportSettings, "Addresses and connections.")
    storage: StorageSettings = section(StorageSettings, "The data directory.")
    resources: ResourcesSettings = section(ResourcesSettings, "What this member offers to the steps.")
    engine: EngineSettings = section(EngineSettings, "Timeouts, leases and limits.")
    security: SecuritySettings = section(SecuritySettings, "Certificates.")
    observability: ObservabilitySettings = section(ObservabilitySettings, "Logs, health and metrics.")
