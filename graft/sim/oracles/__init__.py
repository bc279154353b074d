"""What one process of a member must keep to, beyond S1 to S16: each rule by its number, seen from outside.

An oracle is told what the process hears (`begins`), orders (`orders`), says (`leaves`) and has synced, keeps its own
account, and compares. Where it reads a number of the core, that number is what is on trial.

==== ==============================================================================================================
S17  `disk`: the core holds nothing that it has not ordered; what is synced is what was ordered up to that ticket, and
     the terms, configurations and versions of the hard state are those of the entries beside it
S18  `acks`: what is acknowledged is the entry that was meant when the answer was made; nobody's answers of an old
     term leave in a new one; a leader counts no more than it was told, and of its own log no more than is synced
S19  `voting`: who asks for votes has stored what it claims; nobody grants a vote or a pre-vote to a shorter log, or
     while it owes it to a leader not to; a pre-vote changes nothing
S20  `leading`: a leader whose committed configuration is without it leads no longer; nor does such a one stand
S21  `leading`: a learner becomes a voter only after an answer that covered all that was in the log one round before
S22  `versions`: the version in force is that of the committed log, asked for only when every member said it knows it
S23  `leases`: a lease runs from a round that a quorum promised on, for the time that the drift leaves; there is none
     from before a change of configuration or after a TimeoutNow; nobody leads a later term while one is used
S24  `retention`: the log is cut when and as far as the rules say, and held only for who may need it
S25  `budgets`: what counts bytes, messages and questions counts those that are outstanding
S26  `leading`: a transfer is given up in time
==== ==============================================================================================================
"""

from graft.sim.oracles.acks import PROMISES
from graft.sim.oracles.all import Oracles

__all__ = ["PROMISES", "Oracles"]
