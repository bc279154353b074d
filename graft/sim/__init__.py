"""The simulator: many members in one process, one heap of events, every fault, and checkers that stand outside.

Core tier only, so far: the pure cores are driven by a discrete-event heap, without Trio (ARCHITECTURE.md §8). Same
seed, same trace hash, on every machine. The rooms, from the bottom:

============  =========================================================================
`entropy`     integer random numbers, separate streams from one seed
`history`     what clients saw; `linearize` decides whether a register could have done it
`heap`        the order of events in virtual time
`network`     links that lose, repeat, delay, reorder, and break in every shape
`disk`        storage that loses what was not synced, tears, rots, fills up, fails
`clocks`      a clock per member: skew, drift, jumps, pauses
`machine`     the replicated state: registers with compare-and-set
`member`      executes the effects of `graft.raft` against disk and network
`invariants`  S1 to S16, with a history that no member can rewrite
`clients`     workload and oracle
`faults`      the plan of a run: which faults, when (swarm testing)
`chaos`       what each kind of fault does, a file a class
`world`       one run from a plan to a verdict
`shrink`      a failure with as few faults as it needs
`bugbank`     bugs that others shipped, planted on purpose
`sweep`       many seeds, on several cores: `python -m graft.sim --seeds A:B`
============  =========================================================================
"""
