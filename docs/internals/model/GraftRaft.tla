----------------------------- MODULE GraftRaft -----------------------------
(***************************************************************************)
(* The consensus protocol as `graft/raft` implements it: elections with    *)
(* pre-vote, joint-consensus membership, and a disk that is slower than    *)
(* the network (nothing is promised before it is synced).                  *)
(*                                                                         *)
(* There are no messages in this model. Everything a message can say is a  *)
(* fact about the past that stays true: "the leader of term t had this     *)
(* entry at i", "v voted for c in t", "v holds the log of t's leader up to *)
(* i". Facts only grow, and any member may learn any fact at any time or   *)
(* never. That is a network that loses, repeats, delays and reorders       *)
(* without bound, at the price of no state at all.                         *)
(*                                                                         *)
(* Time is left out: whatever a timer may do, a member may do at any       *)
(* moment. So check-quorum, leases, transfer (an election without          *)
(* pre-vote) and the pace of retries need no actions of their own; they    *)
(* only take behaviour away. Not modelled: snapshots, learners, reads,     *)
(* more than one write turn on its way to the disk, damaged entries.       *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS
    Server,      \* all members that may ever vote
    None,        \* no vote, no configuration
    MaxTerm,
    MaxLog,      \* entries in a log
    PreVote,     \* see `Stand`
    MaxChanges,  \* membership changes begun in a run
    MaxCrashes

VARIABLES
    term, vote, log,      \* what the member believes
    disk,                 \* what it finds after a crash: a record of the same three
    role,                 \* volatile
    commit,               \* volatile, of leaders: others have 0, see `Known` and `Learned`
    match,                \* volatile: its log is known to be the leader's up to here
    votes,                \* fact: votes[t][v] = the candidate v voted for in t, synced
    asked,                \* fact: asked[t][c] = last (term, index) with which c asked for votes in t
    history,              \* fact: history[t] = the log of the leader of t, and how far it had committed
    acked,                \* fact: acked[t][v] = v has synced the log of t's leader up to here
    initial,              \* the first configuration, known to all
    leaders, committed,   \* ghosts: who led each term; the committed log
    changes, crashes

vars == <<term, vote, log, disk, role, commit, match, votes, asked, history, acked,
          initial, leaders, committed, changes, crashes>>

Term == 1..MaxTerm
Min(a, b) == IF a < b THEN a ELSE b
Max(a, b) == IF a > b THEN a ELSE b

\* An entry: its term, and a configuration or None. A configuration is a pair
\* of voter sets <<old, new>>; the two are equal outside of a joint one.
Entry(t, c) == [t |-> t, c |-> c]
TermAt(l, i) == IF i = 0 THEN 0 ELSE l[i].t
LastTerm(l) == TermAt(l, Len(l))
Simple(voters) == <<voters, voters>>

\* A configuration rules from the moment it is in the log, committed or not.
ConfigIndex(l) == LET at == {i \in 1..Len(l) : l[i].c # None}
                  IN IF at = {} THEN 0 ELSE CHOOSE i \in at : \A j \in at : j <= i
Config(l) == IF ConfigIndex(l) = 0 THEN Simple(initial) ELSE l[ConfigIndex(l)].c
Voters(c) == c[1] \cup c[2]
Majority(set, voters) == 2 * Cardinality(set \cap voters) > Cardinality(voters)
Quorum(set, c) == Majority(set, c[1]) /\ Majority(set, c[2])

UpToDate(lt, li, l) == lt > LastTerm(l) \/ (lt = LastTerm(l) /\ li >= Len(l))

Init ==
    /\ initial \in {v \in SUBSET Server : Cardinality(v) >= 2}
    /\ term = [s \in Server |-> 0]
    /\ vote = [s \in Server |-> None]
    /\ log = [s \in Server |-> <<>>]
    /\ disk = [s \in Server |-> [term |-> 0, vote |-> None, log |-> <<>>]]
    /\ role = [s \in Server |-> "follower"]
    /\ commit = [s \in Server |-> 0]
    /\ match = [s \in Server |-> 0]
    /\ votes = [t \in Term |-> [s \in Server |-> None]]
    /\ asked = [t \in Term |-> [s \in Server |-> None]]
    /\ history = [t \in Term |-> [log |-> <<>>, commit |-> 0]]
    /\ acked = [t \in Term |-> [s \in Server |-> 0]]
    /\ leaders = [t \in Term |-> {}]
    /\ committed = <<>>
    /\ changes = 0
    /\ crashes = 0

\* What a member does on seeing a newer term, from whomever it learns it.
NewTerm(s, t) ==
    /\ term' = [term EXCEPT ![s] = t]
    /\ role' = [role EXCEPT ![s] = "follower"]
    /\ match' = [match EXCEPT ![s] = 0]
    /\ commit' = [commit EXCEPT ![s] = 0]

\* How far a follower may know its log to be committed, at most: what the
\* leader of its term said, as far as it holds it. It needs no variable, for a
\* follower does nothing with it that could break a promise but apply.
Learned(s) == IF term[s] = 0 THEN 0 ELSE Min(match[s], history[term[s]].commit)

\* How far a leader of term t may know the log to be committed, from its own
\* counting or from the days before.
Known(t) == LET all == {history[u].commit : u \in 1..t} IN CHOOSE n \in all : \A m \in all : m <= n

---------------------------------------------------------------------------
\* Elections

\* It stands, in the next term, and votes for itself. A pre-vote asks before
\* whether a quorum would vote for it, and changes nothing at those it asks.
\* With PreVote the answers are those of this very moment. Answers that are
\* older allow less than no pre-vote at all, and that is what PreVote = FALSE
\* checks: every behaviour of the implementation, and more.
WouldVote(v, s) ==
    term[v] <= term[s] + 1 /\ UpToDate(LastTerm(log[s]), Len(log[s]), log[v])

Stand(s) ==
    /\ role[s] # "leader" /\ term[s] < MaxTerm
    /\ s \in Voters(Config(log[s]))
    /\ PreVote => Quorum({v \in Server : WouldVote(v, s)}, Config(log[s]))
    /\ term' = [term EXCEPT ![s] = @ + 1]
    /\ vote' = [vote EXCEPT ![s] = s]
    /\ role' = [role EXCEPT ![s] = "candidate"]
    /\ match' = [match EXCEPT ![s] = 0]
    /\ UNCHANGED <<log, disk, commit, votes, asked, history, acked, initial, leaders, committed, changes, crashes>>

\* v decides to vote for c. The answer leaves with the sync.
Vote(v, c, t) ==
    /\ v # c /\ asked[t][c] # None
    /\ t > term[v] \/ (t = term[v] /\ vote[v] = None)
    /\ UpToDate(asked[t][c][1], asked[t][c][2], log[v])
    /\ vote' = [vote EXCEPT ![v] = c]
    /\ IF t > term[v] THEN NewTerm(v, t) ELSE UNCHANGED <<term, role, match, commit>>
    /\ UNCHANGED <<log, disk, votes, asked, history, acked, initial, leaders, committed, changes, crashes>>

\* A request that is not granted still carries its term.
SeeTerm(s, t) ==
    /\ t > term[s]
    /\ \E c \in Server : asked[t][c] # None
    /\ NewTerm(s, t)
    /\ vote' = [vote EXCEPT ![s] = None]
    /\ UNCHANGED <<log, disk, votes, asked, history, acked, initial, leaders, committed, changes, crashes>>

\* Only votes that are synced count, its own included. It begins with an empty entry.
Win(s) ==
    LET t == term[s] IN
    /\ role[s] = "candidate" /\ Len(log[s]) < MaxLog
    /\ Quorum({v \in Server : votes[t][v] = s}, Config(log[s]))
    /\ role' = [role EXCEPT ![s] = "leader"]
    /\ log' = [log EXCEPT ![s] = Append(@, Entry(t, None))]
    /\ match' = [match EXCEPT ![s] = Len(log[s]) + 1]
    /\ history' = [history EXCEPT ![t].log = log'[s]]
    /\ leaders' = [leaders EXCEPT ![t] = @ \cup {s}]
    /\ UNCHANGED <<term, vote, disk, commit, votes, asked, acked, initial, committed, changes, crashes>>

---------------------------------------------------------------------------
\* Replication

Extend(s, entry) ==
    /\ role[s] = "leader" /\ Len(log[s]) < MaxLog
    /\ log' = [log EXCEPT ![s] = Append(@, entry)]
    /\ match' = [match EXCEPT ![s] = Len(log[s]) + 1]
    /\ history' = [history EXCEPT ![term[s]].log = log'[s]]

Propose(s) ==
    /\ Extend(s, Entry(term[s], None))
    /\ UNCHANGED <<term, vote, disk, role, commit, votes, asked, acked, initial, leaders, committed, changes,
                   crashes>>

\* v learns one entry (or none, a heartbeat) of the leader of t, behind an
\* entry that it shares. It remembers how far its log is the leader's, and
\* gives up a candidacy that lost.
Follow(v, t, i, n) ==
    LET leaderLog == history[t].log
        conflict == n = 1 /\ Len(log[v]) > i /\ log[v][i + 1].t # leaderLog[i + 1].t
        missing == n = 1 /\ Len(log[v]) = i
    IN
    /\ leaders[t] # {} /\ v \notin leaders[t] /\ t = term[v]
    /\ i + n <= Len(leaderLog)
    /\ Len(log[v]) >= i /\ TermAt(log[v], i) = TermAt(leaderLog, i)
    /\ conflict \/ missing \/ match[v] < i + n \/ role[v] = "candidate"  \* or nothing changes
    /\ log' = IF conflict \/ missing
              THEN [log EXCEPT ![v] = Append(SubSeq(@, 1, i), leaderLog[i + 1])]
              ELSE log
    /\ match' = [match EXCEPT ![v] = Max(@, i + n)]
    /\ role' = [role EXCEPT ![v] = "follower"]
    /\ UNCHANGED <<term, vote, disk, commit, votes, asked, history, acked, initial, leaders, committed, changes, crashes>>

\* The disk catches up with the member, and what waited for it is said: votes,
\* acknowledgements, and the requests of a candidate. (If those left before, a
\* candidate could win, crash with its term not synced, and win the same term
\* again by the same votes with another log: TLC finds it in 18 steps.)
Unsynced(s) ==
    \/ disk[s] # [term |-> term[s], vote |-> vote[s], log |-> log[s]]
    \/ term[s] > 0 /\ acked[term[s]][s] < match[s]
    \/ role[s] = "candidate" /\ asked[term[s]][s] = None

Sync(s) ==
    /\ Unsynced(s)
    /\ disk' = [disk EXCEPT ![s] = [term |-> term[s], vote |-> vote[s], log |-> log[s]]]
    /\ votes' = IF vote[s] = None THEN votes ELSE [votes EXCEPT ![term[s]][s] = vote[s]]
    /\ acked' = IF term[s] = 0 THEN acked ELSE [acked EXCEPT ![term[s]][s] = Max(@, match[s])]
    /\ asked' = IF role[s] = "candidate" /\ asked[term[s]][s] = None
                THEN [asked EXCEPT ![term[s]][s] = <<LastTerm(log[s]), Len(log[s])>>]
                ELSE asked
    /\ UNCHANGED <<term, vote, log, role, commit, match, history, initial, leaders, committed, changes, crashes>>

\* By counting only entries of its own term, only synced copies, in each half of a joint configuration.
Commit(s) ==
    LET t == term[s]
        agreed == {n \in (commit[s] + 1)..Len(log[s]) :
                     /\ log[s][n].t = t
                     /\ Quorum({v \in Server : acked[t][v] >= n}, Config(log[s]))}
    IN
    /\ role[s] = "leader"
    /\ \E n \in agreed :  \* the newest, or an older one: see `Settled`
       /\ history' = [history EXCEPT ![t].commit = n]
       /\ committed' = IF n > Len(committed) THEN SubSeq(log[s], 1, n) ELSE committed
       \* A leader that the committed configuration leaves out steps down.
       /\ IF Config(SubSeq(log[s], 1, n)) = Config(log[s]) /\ s \notin Voters(Config(log[s]))
          THEN role' = [role EXCEPT ![s] = "follower"] /\ commit' = [commit EXCEPT ![s] = 0]
          ELSE role' = role /\ commit' = [commit EXCEPT ![s] = n]
    /\ UNCHANGED <<term, vote, log, disk, match, votes, asked, acked, initial, leaders, changes, crashes>>

---------------------------------------------------------------------------
\* Membership: joint consensus only

Change(s, voters) ==
    LET old == Config(log[s]) IN
    /\ changes < MaxChanges
    /\ role[s] = "leader"
    /\ old[1] = old[2] /\ voters # old[1]
    /\ ConfigIndex(log[s]) <= commit[s]               \* one at a time
    /\ commit[s] > 0 /\ log[s][commit[s]].t = term[s]  \* after a commit of this term
    /\ Extend(s, Entry(term[s], <<old[1], voters>>))
    /\ changes' = changes + 1
    /\ UNCHANGED <<term, vote, disk, role, commit, votes, asked, acked, initial, leaders, committed, crashes>>

\* Once the joint configuration is committed, the leader (maybe a later one) leaves it.
Leave(s) ==
    LET c == Config(log[s]) IN
    /\ role[s] = "leader" /\ c[1] # c[2] /\ ConfigIndex(log[s]) <= Known(term[s])
    /\ Extend(s, Entry(term[s], Simple(c[2])))
    /\ UNCHANGED <<term, vote, disk, role, commit, votes, asked, acked, initial, leaders, committed, changes,
                   crashes>>

---------------------------------------------------------------------------

Crash(s) ==
    /\ crashes < MaxCrashes
    /\ crashes' = crashes + 1
    /\ term' = [term EXCEPT ![s] = disk[s].term]
    /\ vote' = [vote EXCEPT ![s] = disk[s].vote]
    /\ log' = [log EXCEPT ![s] = disk[s].log]
    /\ role' = [role EXCEPT ![s] = "follower"]
    /\ commit' = [commit EXCEPT ![s] = 0]
    /\ match' = [match EXCEPT ![s] = 0]
    /\ UNCHANGED <<disk, votes, asked, history, acked, initial, leaders, committed, changes>>

\* A slow disk matters while a crash may come. After the last one it only says
\* later what it would have said at once, and everybody may learn a fact late
\* as it is: an execution with a slow disk is one with a fast disk in which the
\* same steps are possible, as no step asks for a fact to be absent. (`Commit`
\* did when it took the newest index only.) So from then on members sync first.
Settled == crashes < MaxCrashes \/ \A s \in Server : ~Unsynced(s)

Move ==
    \/ \E s \in Server : Stand(s) \/ Win(s) \/ Propose(s) \/ Commit(s) \/ Leave(s) \/ Crash(s)
    \/ \E v, c \in Server, t \in Term : Vote(v, c, t)
    \/ \E s \in Server, t \in Term : SeeTerm(s, t)
    \/ \E v \in Server, t \in Term, i \in 0..MaxLog, n \in 0..1 : Follow(v, t, i, n)
    \/ \E s \in Server, voters \in SUBSET Server : Cardinality(voters) >= 2 /\ Change(s, voters)

Next == (\E s \in Server : Sync(s)) \/ (Settled /\ Move)

Spec == Init /\ [][Next]_vars
Symmetry == Permutations(Server)

---------------------------------------------------------------------------
\* What must hold (the numbers are those of the simulator's invariants)

ElectionSafety == \A t \in Term : Cardinality(leaders[t]) <= 1                                       \* S1

LogMatching ==                                                                                        \* S2
    \A a, b \in Server : \A i \in 1..Min(Len(log[a]), Len(log[b])) :
        log[a][i].t = log[b][i].t => SubSeq(log[a], 1, i) = SubSeq(log[b], 1, i)

LeaderCompleteness ==                                                                                 \* S3
    \A s \in Server : role[s] = "leader" =>
        \A i \in 1..Len(committed) :
            (\E t \in Term : t < term[s] /\ history[t].commit >= i)
                => Len(log[s]) >= i /\ log[s][i] = committed[i]

StateMachineSafety ==                                                                                 \* S4, S5
    /\ \A s \in Server : LET n == Max(commit[s], Learned(s)) IN
           n <= Len(committed) /\ n <= Len(log[s]) /\ SubSeq(log[s], 1, n) = SubSeq(committed, 1, n)
    /\ \A t \in Term : SubSeq(history[t].log, 1, history[t].commit) = SubSeq(committed, 1, history[t].commit)

CommittedIsDurable ==                                                                                 \* S6, S11
    \A s \in Server : role[s] = "leader" /\ commit[s] > 0 /\ log[s][commit[s]].t = term[s] =>
        Quorum({v \in Server : Len(disk[v].log) >= commit[s]
                               /\ SubSeq(disk[v].log, 1, commit[s]) = SubSeq(log[s], 1, commit[s])},
               Config(SubSeq(log[s], 1, commit[s])))

VotesAreSynced ==                                                                                     \* S7, S10
    \A s \in Server : /\ disk[s].term <= term[s]
                      /\ disk[s].vote # None => votes[disk[s].term][s] = disk[s].vote

OneChangeAtATime ==                                                                                   \* S12
    \A s \in Server : role[s] = "leader" =>
        Cardinality({i \in 1..Len(log[s]) : i > commit[s] /\ log[s][i].c # None /\ log[s][i].t = term[s]}) <= 1

Safety == /\ ElectionSafety /\ LogMatching /\ LeaderCompleteness /\ StateMachineSafety
          /\ CommittedIsDurable /\ VotesAreSynced /\ OneChangeAtATime
=============================================================================
