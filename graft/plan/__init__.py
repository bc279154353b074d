"""The compiled DAG of a flow: what `graft_dsl` produces and the engine and the worker execute.

A plan is a table of blocks. Block 0 is the flow itself; a group (`nodes = …`) and a sub-flow (`flow = …`) have a
block each, which their node names by index. So the whole plan is flat: no recursion when it is read, hashed or
walked. A plan never changes; its identity is the SHA-256 of its canonical JSON.
"""

from graft.plan.codec import FORMAT, decode, encode, plan_hash
from graft.plan.records import (
    JOINS,
    KINDS,
    Action,
    Block,
    Catch,
    ErrorRecord,
    ExecAction,
    FailAction,
    FlowAction,
    ForEach,
    GroupAction,
    HttpAction,
    Node,
    Param,
    Plan,
    PythonAction,
    Retry,
    RunAction,
    Secret,
    SleepAction,
    Tree,
    ValueAction,
)

__all__ = [
    "FORMAT",
    "JOINS",
    "KINDS",
    "Action",
    "Block",
    "Catch",
    "ErrorRecord",
    "ExecAction",
    "FailAction",
    "FlowAction",
    "ForEach",
    "GroupAction",
    "HttpAction",
    "Node",
    "Param",
    "Plan",
    "PythonAction",
    "Retry",
    "RunAction",
    "Secret",
    "SleepAction",
    "Tree",
    "ValueAction",
    "decode",
    "encode",
    "plan_hash",
]
