"""Between what people see of runs and members (`views`, `membership`) and the messages of `graft.proto`.

Both ways stand side by side, so that a field that is added to one is not forgotten in the other; a test sends records
with every field set through both.
"""

from __future__ import annotations

from typing import Any

import msgspec

from graft import errors
from graft.cluster.inputs import Inputs
from graft.cluster.membership import ClusterStatus, MemberView
from graft.cluster.views import EventView, Idle, MapView, RunSummary, RunView, StepResult, StepView
from graft.errors import GraftError, NoRoom, Rejected
from graft.plan import ErrorRecord, decode, encode
from graft.transport.proto import graft_pb2 as pb
from graft.worker.logs import LogLine

# Values


def value_bytes(value: Any) -> bytes:
    """JSON; empty for None, which no field tells from "there is none"."""
    return b"" if value is None else msgspec.json.encode(value)


def read_value(data: bytes) -> Any:
    return None if not data else msgspec.json.decode(data)


def read_error(data: bytes) -> ErrorRecord | None:
    return None if not data else msgspec.json.decode(data, type=ErrorRecord)


def problem_message(error: GraftError) -> pb.Problem:
    """`error` inside a reply. `reason` is that of a `Rejected`."""
    return pb.Problem(
        type=type(error).__name__,
        message=error.message,
        hint=error.hint or "",
        reason=error.reason if isinstance(error, Rejected) else "",
    )


def read_problem(message: pb.Problem) -> GraftError:
    """The error again, of the nearest class that this version knows."""
    hint = message.hint or None
    if message.reason == NoRoom.REASON:
        return NoRoom(message.message, hint=hint)
    if message.reason:
        return Rejected(message.message, reason=message.reason, hint=hint)
    found = getattr(errors, message.type, None)
    plain = (errors.UsageError, errors.InvalidParams, errors.RunConflict, errors.PlanError, errors.StoreFull)
    return (found if found in plain else GraftError)(message.message, hint=hint)


# Runs


def summary_message(summary: RunSummary | RunView) -> pb.RunSummary:
    return pb.RunSummary(
        run_id=summary.run_id,
        name=summary.name,
        status=summary.status,
        reason=summary.reason,
        generation=summary.generation,
        started_at=summary.started_at,
        ended_at=summary.ended_at or 0,
        paused=summary.paused,
        idle=[moment for pair in summary.idle for moment in pair],
        waiting=summary.waiting or "",
        waits=summary.waiting is not None,
    )


def read_idle(message: pb.RunSummary) -> Idle:
    return tuple(zip(message.idle[::2], message.idle[1::2], strict=False))


def read_summary(message: pb.RunSummary) -> RunSummary:
    return RunSummary(
        run_id=message.run_id,
        name=message.name,
        status=message.status,
        generation=message.generation,
        started_at=message.started_at,
        ended_at=message.ended_at or None,
        paused=message.paused,
        reason=message.reason,
        idle=read_idle(message),
        waiting=message.waiting if message.waits else None,
    )


def run_message(view: RunView) -> pb.RunReply:
    return pb.RunReply(
        summary=summary_message(view),
        params=value_bytes(view.params),
        outputs=value_bytes(view.outputs),
        error=value_bytes(view.error),
        plan=encode(view.plan),
        plan_hash=view.plan_hash,
        flow_base=view.flow_base,
        steps=[step_message(step) for step in view.steps],
        counts=view.counts,
        waiting=view.waiting or "",
        waits=view.waiting is not None,
    )


def read_run(message: pb.RunReply) -> RunView:
    head = message.summary
    return RunView(
        run_id=head.run_id,
        name=head.name,
        status=head.status,
        reason=head.reason,
        generation=head.generation,
        params=read_value(message.params) or {},
        started_at=head.started_at,
        ended_at=head.ended_at or None,
        paused=head.paused,
        outputs=read_value(message.outputs),
        error=read_error(message.error),
        plan=decode(message.plan),
        plan_hash=message.plan_hash,
        flow_base=message.flow_base,
        steps=tuple(read_step(step) for step in message.steps),
        counts=dict(message.counts),
        waiting=message.waiting if message.waits else None,
        idle=read_idle(head),
    )


def step_message(step: StepView) -> pb.Step:
    return pb.Step(
        path=step.path,
        node=step.node,
        kind=step.kind,
        status=step.status,
        attempt=step.attempt,
        started_at=step.started_at or 0,
        ended_at=step.ended_at or 0,
        error=value_bytes(step.error),
        reason=step.reason,
        has_out=step.has_out,
        children=[step_message(child) for child in step.children],
        is_map=step.map_total is not None,
        map_total=step.map_total or 0,
        map_done=step.map_done or 0,
        member=step.member,
        due_at=step.due_at or 0,
        item=step.item,
    )


def read_step(message: pb.Step) -> StepView:
    return StepView(
        path=message.path,
        node=message.node,
        kind=message.kind,
        status=message.status,
        attempt=message.attempt,
        started_at=message.started_at or None,
        ended_at=message.ended_at or None,
        error=read_error(message.error),
        reason=message.reason,
        has_out=message.has_out,
        children=tuple(read_step(child) for child in message.children),
        map_total=message.map_total if message.is_map else None,
        map_done=message.map_done if message.is_map else None,
        member=message.member,
        due_at=message.due_at or None,
        item=message.item,
    )


def result_message(found: StepResult) -> pb.StepReply:
    items = found.items
    return pb.StepReply(
        status=found.status,
        has_out=found.out is not None,
        out=found.out or b"",
        is_map=items is not None,
        map_total=0 if items is None else items.total,
        item_names=() if items is None else items.names,
        inputs=value_bytes(found.inputs.values),
        unknown_inputs=found.inputs.unknown,
    )


def read_result(message: pb.StepReply) -> StepResult:
    return StepResult(
        status=message.status,
        out=bytes(message.out) if message.has_out else None,
        items=MapView(message.map_total, tuple(message.item_names)) if message.is_map else None,
        inputs=Inputs(read_value(message.inputs) or {}, dict(message.unknown_inputs)),
    )


def event_message(event: EventView) -> pb.Event:
    return pb.Event(
        seq=event.seq,
        run_id=event.run_id,
        at=event.at,
        path=event.path,
        what=event.what,
        reason=event.reason,
        attempt=event.attempt,
    )


def read_event(message: pb.Event) -> EventView:
    return EventView(
        message.seq, message.run_id, message.at, message.path, message.what, message.reason, message.attempt
    )


def log_message(line: LogLine, member: str) -> pb.LogLine:
    return pb.LogLine(
        path=line.path,
        at=line.time,
        attempt=line.attempt,
        stream=line.stream,
        text=line.text,
        continues=line.continues,
        member=member,
    )


def read_log(message: pb.LogLine) -> LogLine:
    return LogLine(
        message.at, message.path, message.attempt, message.stream, message.text, message.continues, message.member
    )


# Members


def status_message(status: ClusterStatus) -> pb.StatusReply:
    return pb.StatusReply(
        cluster=status.cluster,
        member=status.member,
        role=status.role,
        leader=status.leader,
        term=status.term,
        first_index=status.first_index,
        last_index=status.last_index,
        commit=status.commit,
        applied=status.applied,
        state_hash=status.state_hash,
        cluster_version=status.cluster_version,
        store_used_bytes=status.store_used_bytes,
        store_quota_bytes=status.store_quota_bytes,
        has_quorum=status.has_quorum,
        graft_version=status.graft_version,
        live_runs=status.live_runs,
        warnings=status.warnings,
    )


def read_status(message: pb.StatusReply) -> ClusterStatus:
    return ClusterStatus(
        cluster=message.cluster,
        member=message.member,
        role=message.role,
        leader=message.leader,
        term=message.term,
        first_index=message.first_index,
        last_index=message.last_index,
        commit=message.commit,
        applied=message.applied,
        state_hash=message.state_hash,
        cluster_version=message.cluster_version,
        store_used_bytes=message.store_used_bytes,
        store_quota_bytes=message.store_quota_bytes,
        has_quorum=message.has_quorum,
        graft_version=message.graft_version,
        live_runs=message.live_runs,
        warnings=tuple(message.warnings),
    )


def member_message(member: MemberView) -> pb.Member:
    return pb.Member(
        id=member.id,
        incarnation=member.incarnation,
        role=member.role,
        address=member.address,
        live=member.live,
        draining=member.draining,
        labels=member.labels,
        node_types=member.node_types,
        zone=member.zone,
        slots=member.slots,
        used=member.used,
        match=member.match,
        version=member.version,
        unknown=member.unknown,
        heard_seconds=member.heard_seconds,
    )


def read_member(message: pb.Member) -> MemberView:
    return MemberView(
        id=message.id,
        incarnation=message.incarnation,
        role=message.role,
        address=message.address,
        live=message.live,
        draining=message.draining,
        labels=dict(message.labels),
        node_types=tuple(message.node_types),
        zone=message.zone,
        slots=dict(message.slots),
        used=dict(message.used),
        match=message.match,
        version=message.version,
        unknown=message.unknown,
        heard_seconds=message.heard_seconds if message.HasField("heard_seconds") else None,
    )
