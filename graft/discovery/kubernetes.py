"""Members behind a headless Service: its EndpointSlices, listed once and then watched.

The protocol is the one of "Efficient detection of changes" in Kubernetes' API concepts: a list gives a
`resourceVersion`; a watch from there gives ADDED, MODIFIED, DELETED and, now and then, BOOKMARK, which only moves the
version on. A watch ends after `watch_timeout` and is begun anew from the last version. When the server no longer
knows that version it says 410 Gone, as status or as an ERROR event: then everything is listed again.

Pods that are not ready count: while a cluster is being founded none is. An endpoint that is terminating counts while it
serves; where the server does not say whether it does, `ready` answers for it, and where that is not said either it
does. The service account needs `list` and `watch`
on `endpointslices` of the group `discovery.k8s.io` in its namespace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx2
import trio
from attrs import frozen

from graft.config.settings import MEMBER_PORT
from graft.discovery.records import Here, Peer, Report, join
from graft.errors import DiscoveryError, DiscoveryUnfit
from graft.files import read_file

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CONNECT_TIMEOUT_SECONDS = 10.0
SILENCE_SECONDS = 15.0  # a watch that says nothing for so long after its end is taken for dead
PACE_SECONDS = 0.5  # between two watches: a server that ends each at once is not asked in a hot loop
MAX_LINE_BYTES = 8 * 2**20
MAX_ITEMS = 10_000
REFUSALS = {
    401: "it does not accept the token of the service account",
    403: "the service account may not list and watch endpointslices",
}
Slices = dict[str, Mapping[str, Any]]  # by name


class Gone(Exception):
    """The server no longer knows the version that was asked for."""


@frozen
class Kubernetes:
    api_server: str
    namespace: str
    service: str
    port_name: str
    default_port: int
    token_file: Path
    ca_file: Path
    watch_timeout_seconds: float
    transport: httpx2.AsyncBaseTransport | None = None  # for tests

    @property
    def about(self) -> str:
        return f"kubernetes: service {self.service} in {self.namespace}"

    async def watch(self, report: Report) -> None:
        async with self._client() as client:
            while True:
                try:
                    await self._list_and_watch(client, report)
                except Gone:
                    await trio.sleep(PACE_SECONDS)
                except (httpx2.HTTPError, OSError) as error:
                    said = str(error) or type(error).__name__
                    raise DiscoveryError(f"no answer from the API server {self.api_server}: {said}") from error

    async def _list_and_watch(self, client: httpx2.AsyncClient, report: Report) -> None:
        """One list, and watches from it until its version is gone."""
        listed = await self._list(client)
        version = _version_of(listed)
        slices: Slices = {_name_of(item): item for item in listed.get("items") or ()}
        report(self.peers_of(slices))
        while True:
            version = await self._watch(client, version, slices, report)
            await trio.sleep(PACE_SECONDS)

    async def _watch(self, client: httpx2.AsyncClient, version: str, slices: Slices, report: Report) -> str:
        """One watch until its end; gives the version to go on from. Raises Gone, DiscoveryError and httpx2's errors."""
        params = {
            **self._selector(),
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(self.watch_timeout_seconds))),
        }
        timeout = httpx2.Timeout(CONNECT_TIMEOUT_SECONDS, read=self.watch_timeout_seconds + SILENCE_SECONDS)
        request = client.stream("GET", self._path(), params=params, headers=self._headers(), timeout=timeout)
        async with request as response:
            if response.status_code != 200:
                raise _refusal(response.status_code, _message_of(await response.aread()))
            rest = b""
            async with aclosing(response.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    *lines, rest = (rest + chunk).split(b"\n")
                    if len(rest) > MAX_LINE_BYTES:
                        raise DiscoveryError("the API server sent an event that is too large")
                    for line in filter(bytes.strip, lines):
                        version = self._apply(_parsed(line), slices, report) or version
        return version

    def _apply(self, event: Mapping[str, Any], slices: Slices, report: Report) -> str:
        """What one event changes; gives its version. Raises Gone, or DiscoveryError for another error of the server."""
        kind, item = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            raise _refusal(item.get("code"), item.get("message"))
        if kind == "DELETED":
            slices.pop(_name_of(item), None)
        elif kind in ("ADDED", "MODIFIED") and (_name_of(item) in slices or len(slices) < MAX_ITEMS):
            slices[_name_of(item)] = item
        if kind != "BOOKMARK":
            report(self.peers_of(slices))
        return _version_of(item)

    def peers_of(self, slices: Slices) -> frozenset[Peer]:
        """The endpoints of all slices; one that stands in several (they may overlap for a moment) counts once."""
        return frozenset(peer for item in slices.values() for peer in self._peers_of(item))

    def _peers_of(self, item: Mapping[str, Any]) -> Iterator[Peer]:
        ports = item.get("ports") or ()
        named = [each for each in ports if not self.port_name or each.get("name") == self.port_name]
        if self.port_name and not named:
            return
        port = (named[0].get("port") if named else None) or self.default_port
        for endpoint in item.get("endpoints") or ():
            if _has_ended(endpoint.get("conditions") or {}):
                continue
            target = endpoint.get("targetRef") or {}
            pod = target.get("name", "") if target.get("kind") == "Pod" else ""
            for address in (endpoint.get("addresses") or ())[:1]:  # the others mean the same endpoint
                yield Peer(join(address, port), pod, f"kubernetes {self.service}")

    async def _list(self, client: httpx2.AsyncClient) -> Any:
        response = await client.get(self._path(), params=self._selector(), headers=self._headers())
        if response.status_code != 200:
            raise _refusal(response.status_code, _message_of(response.content))
        return _parsed(response.content)

    def _client(self) -> httpx2.AsyncClient:
        import ssl

        verify: ssl.SSLContext | bool = True
        if self.transport is None and self.api_server.startswith("https:") and self.ca_file.name:
            try:
                verify = ssl.create_default_context(cafile=str(self.ca_file))
                verify.verify_flags &= ~ssl.VERIFY_X509_STRICT  # since Python 3.13; many clusters' CAs are older
            except OSError as error:
                raise DiscoveryError(f"the CA of the API server cannot be read from {self.ca_file}: {error}") from error
        return httpx2.AsyncClient(
            base_url=self.api_server, verify=verify, transport=self.transport, timeout=CONNECT_TIMEOUT_SECONDS
        )

    def _path(self) -> str:
        return f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"

    def _selector(self) -> dict[str, str]:
        return {"labelSelector": f"kubernetes.io/service-name={self.service}"}

    def _headers(self) -> dict[str, str]:
        """The token is read for every request: Kubernetes replaces it about once an hour."""
        try:
            token = read_file(self.token_file).decode().strip()
        except OSError as error:
            raise DiscoveryError(f"the token cannot be read from {self.token_file}: {error.strerror}") from error
        return {"Authorization": f"Bearer {token}", "Accept": "application/json"}


def make(here: Here, transport: httpx2.AsyncBaseTransport | None = None, account: Path = ACCOUNT) -> Kubernetes:
    settings, environ = here.settings.discovery.kubernetes, here.environ
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    api_server = settings.api_server or (f"https://{join(host, int(port))}" if host and port.isdecimal() else "")
    if not api_server:
        hint = "this is no pod: set `discovery.kubernetes.api_server`, or use another `discovery.kind`"
        raise DiscoveryUnfit("KUBERNETES_SERVICE_HOST is not set", hint=hint)
    return Kubernetes(
        api_server.rstrip("/"),
        settings.namespace or _namespace(account),
        settings.service or here.settings.service_name,
        settings.port_name,
        here.settings.transport.listen_port or MEMBER_PORT,
        Path(settings.token_file) if settings.token_file else account / "token",
        Path(settings.ca_file) if settings.ca_file else account / "ca.crt",
        settings.watch_timeout,
        transport,
    )


def _namespace(account: Path) -> str:
    try:
        return read_file(account / "namespace").decode().strip()
    except OSError as error:
        hint = "set `discovery.kubernetes.namespace`, or give the pod a service account"
        raise DiscoveryUnfit(f"the namespace cannot be read from {account}: {error.strerror}", hint=hint) from error


def _has_ended(conditions: Mapping[str, Any]) -> bool:
    """Each of the three may be missing or null (see `EndpointConditions` of the API)."""
    ready = conditions.get("ready")
    serving = conditions.get("serving")
    serves = serving if serving is not None else ready if ready is not None else True
    return bool(conditions.get("terminating")) and not serves


def _refusal(status: Any, message: Any) -> Exception:
    if status == 410:
        return Gone()
    known = REFUSALS.get(status) if isinstance(status, int) else None
    why = f": {known}" if known else ""
    return DiscoveryError(f"the API server refused with {status}{why}; it said {str(message)[:200]!r}")


def _parsed(text: bytes) -> Any:
    try:
        made = json.loads(text)
    except ValueError:
        made = None
    if not isinstance(made, dict):
        raise DiscoveryError(f"the API server sent something that is no JSON object: {text[:100]!r}")
    return made


def _message_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")


def _version_of(item: Mapping[str, Any]) -> str:
    return str((item.get("metadata") or {}).get("resourceVersion") or "")


def _name_of(item: Mapping[str, Any]) -> str:
    return str((item.get("metadata") or {}).get("name") or "")
