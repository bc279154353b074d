from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Batch(_message.Message):
    __slots__ = ("hello", "messages")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    messages: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., messages: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("cluster", "member", "incarnation", "target", "address", "version", "process")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    member: str
    incarnation: int
    target: str
    address: str
    version: int
    process: int
    def __init__(self, cluster: _Optional[str] = ..., member: _Optional[str] = ..., incarnation: _Optional[int] = ..., target: _Optional[str] = ..., address: _Optional[str] = ..., version: _Optional[int] = ..., process: _Optional[int] = ...) -> None: ...

class ProbeRequest(_message.Message):
    __slots__ = ("cluster_name", "member", "incarnation", "founders", "cluster", "address", "process", "role")
    CLUSTER_NAME_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    FOUNDERS_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    cluster_name: str
    member: str
    incarnation: int
    founders: _containers.RepeatedScalarFieldContainer[str]
    cluster: str
    address: str
    process: int
    role: str
    def __init__(self, cluster_name: _Optional[str] = ..., member: _Optional[str] = ..., incarnation: _Optional[int] = ..., founders: _Optional[_Iterable[str]] = ..., cluster: _Optional[str] = ..., address: _Optional[str] = ..., process: _Optional[int] = ..., role: _Optional[str] = ...) -> None: ...

class ProbeReply(_message.Message):
    __slots__ = ("member", "incarnation", "cluster", "founders", "version", "leader", "state", "address", "process")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    FOUNDERS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    member: str
    incarnation: int
    cluster: str
    founders: _containers.RepeatedScalarFieldContainer[str]
    version: int
    leader: str
    state: str
    address: str
    process: int
    def __init__(self, member: _Optional[str] = ..., incarnation: _Optional[int] = ..., cluster: _Optional[str] = ..., founders: _Optional[_Iterable[str]] = ..., version: _Optional[int] = ..., leader: _Optional[str] = ..., state: _Optional[str] = ..., address: _Optional[str] = ..., process: _Optional[int] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("cluster_name", "member", "incarnation", "address", "role", "version")
    CLUSTER_NAME_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    cluster_name: str
    member: str
    incarnation: int
    address: str
    role: str
    version: int
    def __init__(self, cluster_name: _Optional[str] = ..., member: _Optional[str] = ..., incarnation: _Optional[int] = ..., address: _Optional[str] = ..., role: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class JoinReply(_message.Message):
    __slots__ = ("cluster", "members")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    members: _containers.RepeatedCompositeFieldContainer[Member]
    def __init__(self, cluster: _Optional[str] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("id", "incarnation", "role", "address", "live", "draining", "labels", "node_types", "zone", "slots", "used", "match", "version", "unknown", "heard_seconds")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class SlotsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class UsedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NODE_TYPES_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    HEARD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    incarnation: int
    role: str
    address: str
    live: bool
    draining: bool
    labels: _containers.ScalarMap[str, str]
    node_types: _containers.RepeatedScalarFieldContainer[str]
    zone: str
    slots: _containers.ScalarMap[str, int]
    used: _containers.ScalarMap[str, int]
    match: int
    version: int
    unknown: bool
    heard_seconds: float
    def __init__(self, id: _Optional[str] = ..., incarnation: _Optional[int] = ..., role: _Optional[str] = ..., address: _Optional[str] = ..., live: _Optional[bool] = ..., draining: _Optional[bool] = ..., labels: _Optional[_Mapping[str, str]] = ..., node_types: _Optional[_Iterable[str]] = ..., zone: _Optional[str] = ..., slots: _Optional[_Mapping[str, int]] = ..., used: _Optional[_Mapping[str, int]] = ..., match: _Optional[int] = ..., version: _Optional[int] = ..., unknown: _Optional[bool] = ..., heard_seconds: _Optional[float] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("cluster", "member", "role", "leader", "term", "first_index", "last_index", "commit", "applied", "state_hash", "cluster_version", "store_used_bytes", "store_quota_bytes", "has_quorum", "graft_version", "live_runs", "warnings")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    STATE_HASH_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_VERSION_FIELD_NUMBER: _ClassVar[int]
    STORE_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORE_QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    HAS_QUORUM_FIELD_NUMBER: _ClassVar[int]
    GRAFT_VERSION_FIELD_NUMBER: _ClassVar[int]
    LIVE_RUNS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    member: str
    role: str
    leader: str
    term: int
    first_index: int
    last_index: int
    commit: int
    applied: int
    state_hash: int
    cluster_version: int
    store_used_bytes: int
    store_quota_bytes: int
    has_quorum: bool
    graft_version: str
    live_runs: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cluster: _Optional[str] = ..., member: _Optional[str] = ..., role: _Optional[str] = ..., leader: _Optional[str] = ..., term: _Optional[int] = ..., first_index: _Optional[int] = ..., last_index: _Optional[int] = ..., commit: _Optional[int] = ..., applied: _Optional[int] = ..., state_hash: _Optional[int] = ..., cluster_version: _Optional[int] = ..., store_used_bytes: _Optional[int] = ..., store_quota_bytes: _Optional[int] = ..., has_quorum: _Optional[bool] = ..., graft_version: _Optional[str] = ..., live_runs: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class MembersRequest(_message.Message):
    __slots__ = ("stale",)
    STALE_FIELD_NUMBER: _ClassVar[int]
    stale: bool
    def __init__(self, stale: _Optional[bool] = ...) -> None: ...

class MembersReply(_message.Message):
    __slots__ = ("members",)
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[Member]
    def __init__(self, members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ...) -> None: ...

class AddMemberRequest(_message.Message):
    __slots__ = ("member", "address", "role")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    member: str
    address: str
    role: str
    def __init__(self, member: _Optional[str] = ..., address: _Optional[str] = ..., role: _Optional[str] = ...) -> None: ...

class RemoveMemberRequest(_message.Message):
    __slots__ = ("member",)
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    member: str
    def __init__(self, member: _Optional[str] = ...) -> None: ...

class SetRoleRequest(_message.Message):
    __slots__ = ("member", "role")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    member: str
    role: str
    def __init__(self, member: _Optional[str] = ..., role: _Optional[str] = ...) -> None: ...

class TransferRequest(_message.Message):
    __slots__ = ("target",)
    TARGET_FIELD_NUMBER: _ClassVar[int]
    target: str
    def __init__(self, target: _Optional[str] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("member", "undo")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    UNDO_FIELD_NUMBER: _ClassVar[int]
    member: str
    undo: bool
    def __init__(self, member: _Optional[str] = ..., undo: _Optional[bool] = ...) -> None: ...

class RaiseVersionRequest(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class SnapshotRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ChangeReply(_message.Message):
    __slots__ = ("index", "text")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    index: int
    text: str
    def __init__(self, index: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class BackupRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BackupChunk(_message.Message):
    __slots__ = ("data", "checksum", "size")
    DATA_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    checksum: str
    size: int
    def __init__(self, data: _Optional[bytes] = ..., checksum: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class StartRequest(_message.Message):
    __slots__ = ("plan", "plan_hash", "params", "run_id", "base", "given", "excluded")
    class GivenEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    PLAN_FIELD_NUMBER: _ClassVar[int]
    PLAN_HASH_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_FIELD_NUMBER: _ClassVar[int]
    plan: bytes
    plan_hash: str
    params: bytes
    run_id: str
    base: str
    given: _containers.ScalarMap[str, bytes]
    excluded: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, plan: _Optional[bytes] = ..., plan_hash: _Optional[str] = ..., params: _Optional[bytes] = ..., run_id: _Optional[str] = ..., base: _Optional[str] = ..., given: _Optional[_Mapping[str, bytes]] = ..., excluded: _Optional[_Iterable[str]] = ...) -> None: ...

class StartReply(_message.Message):
    __slots__ = ("run_id", "problem")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    problem: Problem
    def __init__(self, run_id: _Optional[str] = ..., problem: _Optional[_Union[Problem, _Mapping]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("type", "message", "hint", "reason")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    hint: str
    reason: str
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., hint: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("run_id", "stale", "summary_only")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_ONLY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    stale: bool
    summary_only: bool
    def __init__(self, run_id: _Optional[str] = ..., stale: _Optional[bool] = ..., summary_only: _Optional[bool] = ...) -> None: ...

class RunReply(_message.Message):
    __slots__ = ("summary", "params", "outputs", "error", "plan", "plan_hash", "flow_base", "steps", "counts", "waiting", "waits")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    PLAN_HASH_FIELD_NUMBER: _ClassVar[int]
    FLOW_BASE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    WAITS_FIELD_NUMBER: _ClassVar[int]
    summary: RunSummary
    params: bytes
    outputs: bytes
    error: bytes
    plan: bytes
    plan_hash: str
    flow_base: str
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    counts: _containers.ScalarMap[str, int]
    waiting: str
    waits: bool
    def __init__(self, summary: _Optional[_Union[RunSummary, _Mapping]] = ..., params: _Optional[bytes] = ..., outputs: _Optional[bytes] = ..., error: _Optional[bytes] = ..., plan: _Optional[bytes] = ..., plan_hash: _Optional[str] = ..., flow_base: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., counts: _Optional[_Mapping[str, int]] = ..., waiting: _Optional[str] = ..., waits: _Optional[bool] = ...) -> None: ...

class RunSummary(_message.Message):
    __slots__ = ("run_id", "name", "status", "reason", "generation", "started_at", "ended_at", "paused", "idle", "waiting", "waits")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    WAITS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    name: str
    status: str
    reason: str
    generation: int
    started_at: int
    ended_at: int
    paused: str
    idle: _containers.RepeatedScalarFieldContainer[int]
    waiting: str
    waits: bool
    def __init__(self, run_id: _Optional[str] = ..., name: _Optional[str] = ..., status: _Optional[str] = ..., reason: _Optional[str] = ..., generation: _Optional[int] = ..., started_at: _Optional[int] = ..., ended_at: _Optional[int] = ..., paused: _Optional[str] = ..., idle: _Optional[_Iterable[int]] = ..., waiting: _Optional[str] = ..., waits: _Optional[bool] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("path", "node", "kind", "status", "attempt", "started_at", "ended_at", "error", "reason", "has_out", "children", "is_map", "map_total", "map_done", "member", "due_at", "item")
    PATH_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    HAS_OUT_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    IS_MAP_FIELD_NUMBER: _ClassVar[int]
    MAP_TOTAL_FIELD_NUMBER: _ClassVar[int]
    MAP_DONE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    path: str
    node: str
    kind: str
    status: str
    attempt: int
    started_at: int
    ended_at: int
    error: bytes
    reason: str
    has_out: bool
    children: _containers.RepeatedCompositeFieldContainer[Step]
    is_map: bool
    map_total: int
    map_done: int
    member: str
    due_at: int
    item: str
    def __init__(self, path: _Optional[str] = ..., node: _Optional[str] = ..., kind: _Optional[str] = ..., status: _Optional[str] = ..., attempt: _Optional[int] = ..., started_at: _Optional[int] = ..., ended_at: _Optional[int] = ..., error: _Optional[bytes] = ..., reason: _Optional[str] = ..., has_out: _Optional[bool] = ..., children: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., is_map: _Optional[bool] = ..., map_total: _Optional[int] = ..., map_done: _Optional[int] = ..., member: _Optional[str] = ..., due_at: _Optional[int] = ..., item: _Optional[str] = ...) -> None: ...

class StepReply(_message.Message):
    __slots__ = ("status", "has_out", "out", "is_map", "map_total", "item_names", "inputs", "unknown_inputs")
    class UnknownInputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    HAS_OUT_FIELD_NUMBER: _ClassVar[int]
    OUT_FIELD_NUMBER: _ClassVar[int]
    IS_MAP_FIELD_NUMBER: _ClassVar[int]
    MAP_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ITEM_NAMES_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_INPUTS_FIELD_NUMBER: _ClassVar[int]
    status: str
    has_out: bool
    out: bytes
    is_map: bool
    map_total: int
    item_names: _containers.RepeatedScalarFieldContainer[str]
    inputs: bytes
    unknown_inputs: _containers.ScalarMap[str, str]
    def __init__(self, status: _Optional[str] = ..., has_out: _Optional[bool] = ..., out: _Optional[bytes] = ..., is_map: _Optional[bool] = ..., map_total: _Optional[int] = ..., item_names: _Optional[_Iterable[str]] = ..., inputs: _Optional[bytes] = ..., unknown_inputs: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("limit", "stale", "prefix", "before", "name")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    limit: int
    stale: bool
    prefix: str
    before: str
    name: str
    def __init__(self, limit: _Optional[int] = ..., stale: _Optional[bool] = ..., prefix: _Optional[str] = ..., before: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ListReply(_message.Message):
    __slots__ = ("runs",)
    RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunSummary]
    def __init__(self, runs: _Optional[_Iterable[_Union[RunSummary, _Mapping]]] = ...) -> None: ...

class EventsRequest(_message.Message):
    __slots__ = ("run_id", "after", "stale", "limit")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    after: int
    stale: bool
    limit: int
    def __init__(self, run_id: _Optional[str] = ..., after: _Optional[int] = ..., stale: _Optional[bool] = ..., limit: _Optional[int] = ...) -> None: ...

class EventsReply(_message.Message):
    __slots__ = ("events", "ended")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    ended: bool
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., ended: _Optional[bool] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("run_id", "after", "stale")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    after: int
    stale: bool
    def __init__(self, run_id: _Optional[str] = ..., after: _Optional[int] = ..., stale: _Optional[bool] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("seq", "run_id", "at", "path", "what", "reason", "attempt")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    seq: int
    run_id: str
    at: int
    path: str
    what: str
    reason: str
    attempt: int
    def __init__(self, seq: _Optional[int] = ..., run_id: _Optional[str] = ..., at: _Optional[int] = ..., path: _Optional[str] = ..., what: _Optional[str] = ..., reason: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class LogsRequest(_message.Message):
    __slots__ = ("run_id", "path", "follow", "stale")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    path: str
    follow: bool
    stale: bool
    def __init__(self, run_id: _Optional[str] = ..., path: _Optional[str] = ..., follow: _Optional[bool] = ..., stale: _Optional[bool] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("path", "at", "attempt", "stream", "text", "continues", "member")
    PATH_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CONTINUES_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    path: str
    at: str
    attempt: int
    stream: str
    text: str
    continues: bool
    member: str
    def __init__(self, path: _Optional[str] = ..., at: _Optional[str] = ..., attempt: _Optional[int] = ..., stream: _Optional[str] = ..., text: _Optional[str] = ..., continues: _Optional[bool] = ..., member: _Optional[str] = ...) -> None: ...

class StepRequest(_message.Message):
    __slots__ = ("run_id", "path", "reason", "stale")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    path: str
    reason: str
    stale: bool
    def __init__(self, run_id: _Optional[str] = ..., path: _Optional[str] = ..., reason: _Optional[str] = ..., stale: _Optional[bool] = ...) -> None: ...

class ActReply(_message.Message):
    __slots__ = ("index",)
    INDEX_FIELD_NUMBER: _ClassVar[int]
    index: int
    def __init__(self, index: _Optional[int] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("run_ids",)
    RUN_IDS_FIELD_NUMBER: _ClassVar[int]
    run_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RemoveReply(_message.Message):
    __slots__ = ("run_ids",)
    RUN_IDS_FIELD_NUMBER: _ClassVar[int]
    run_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_ids: _Optional[_Iterable[str]] = ...) -> None: ...
