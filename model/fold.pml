/* From the rows to the ticks: services/syncer/{service,tick_store}.py, migrations 0002 and 0003.
 *
 * Two writers commit three messages, each a transaction that has its id before its commit and may
 * roll back; two syncers add up what became visible between two snapshots, and write ticks. The
 * outbox is read as in Postgres: a snapshot is xmax (one above the last id that had ended) and the
 * ids below it that were in progress; ids in progress above it are in neither.
 *
 * Faults: a syncer dies at any step (before, in or after its commit); Postgres fails over to a
 * replica that lags (its ids are then given out again), or is restored into another cluster, whose
 * ids begin lower. KeyDB is here only what it can do to a tick: show an epoch above Postgres's, or
 * not be reached. publish.pml has the rest of it.
 *
 * Sets are bit masks: of transaction ids (0 to 7), of messages (1, 2, 4), of epochs, of boundaries.
 */

#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef TICKS
#define TICKS 3
#endif

#ifndef ROLLBACKS
#define ROLLBACKS 1
#endif
#ifndef LAG
#define LAG 2 /* how many commits an asynchronous replica, or a dump, lacks at most */
#endif

#define MESSAGES 7
#define XID_FIRST 3 /* of the first cluster; the other one begins at 0 */
#define XID_END 8
#define XIDS_LEFT (xid_next < (cluster -> XID_FIRST : XID_END))
#define LAST_TICK (TICKS + 1) /* comes when all faults are over */

#define BIT(n) (1 << (n))
/* WHERE xid >= pg_snapshot_xmax(last) OR xid = ANY (pg_snapshot_xip(last)) */
#ifdef MUTANT_IN_PROGRESS
#define FRESH(xmax, xip) (outbox & (255 << (xmax)) & 255)
#else
#define FRESH(xmax, xip) (outbox & (((255 << (xmax)) & 255) | (xip)))
#endif

bool no_loss = true;
bool no_double_count = true;

typedef Tick { byte epoch, token, boundary, xmax, xip, counted; bool cluster };
typedef Memory { bool held; byte base, xmax, xip, sums; bool twice };

/* Postgres. `rows` is historical_transactions: the truth. `counted` is the balance. */
Tick newest;
byte rows, outbox;
byte message[XID_END];
byte xid_next = XID_FIRST, xmax = XID_FIRST, in_progress;
bool cluster;
byte lock;                       /* the syncer that writes a tick, plus one */
byte writing[2];                 /* the open transaction of a writer, plus one */

/* What a replica, or a dump, would come back with. */
Tick newest_saved;
byte rows_saved, outbox_saved, xmax_saved;
byte lag; /* commits that it lacks */
bool saved;

/* Both columns are unique. Intact, the protocol does not rely on it, so this is not even there. */
#ifdef MUTANT_LOCK_BEFORE_SNAPSHOT
byte epochs = 1, boundaries = 1, epochs_saved, boundaries_saved;
#endif

Memory memory[2];
bool ticking[2];
bool cut[2]; /* the syncer's connection is dead, and it will notice at its next statement */
byte todo = MESSAGES, boundary_now, epoch_shown, faults = FAULTS, rollbacks = ROLLBACKS;
bool calm;

inline copy_tick(from, to) {
    to.epoch = from.epoch; to.token = from.token; to.boundary = from.boundary; to.xmax = from.xmax;
    to.xip = from.xip; to.counted = from.counted; to.cluster = from.cluster
}

inline clear_tick(it) {
    it.epoch = 0; it.token = 0; it.boundary = 0; it.xmax = 0; it.xip = 0; it.counted = 0;
    it.cluster = 0
}

inline forget(s) {
    memory[s].held = false; memory[s].base = 0; memory[s].xmax = 0; memory[s].xip = 0;
    memory[s].sums = 0; memory[s].twice = false
}

inline begin_from(s, tick) {
    forget(s);
    memory[s].held = true;
    memory[s].base = tick.token; memory[s].xmax = tick.xmax; memory[s].xip = tick.xip
}

/* The snapshot of a statement that begins now. */
#define XIP_NOW (in_progress & (BIT(xmax) - 1))

/* Which messages a set of transaction ids carries; `again` if one of them is there twice. */
inline carried(xids, total, doubled) {
    x = 0;
    do
    :: x < XID_END ->
       if
       :: (xids & BIT(x)) -> doubled = doubled || (total & message[x]); total = total | message[x]
       :: else
       fi;
       x++
    :: else -> break
    od;
    x = 0
}

inline end_xid(xid) {
    in_progress = in_progress & ~BIT(xid);
    if
    :: xid >= xmax -> xmax = xid + 1
    :: else
    fi
}

inline drop_copy() {
    clear_tick(newest_saved);
    rows_saved = 0; outbox_saved = 0; xmax_saved = 0; lag = 0; saved = false;
#ifdef MUTANT_LOCK_BEFORE_SNAPSHOT
    epochs_saved = 0; boundaries_saved = 0;
#endif
}

/* A commit: the copy, if there is one, lacks one more. One that lacks too many cannot be used. */
inline fall_behind() {
    if
    :: saved && lag < LAG -> lag++
    :: saved && lag == LAG -> drop_copy()
    :: else
    fi
}

/* At every statement: a dead connection is noticed, and memory ends with it. */
#ifdef MUTANT_MEMORY_FORGOTTEN
#define FORGET_CUT(s)
#else
#define FORGET_CUT(s) forget(s);
#endif

/* The older of two open transactions is always the first: which writer has which is the same. */
inline leave(w) {
    end_xid(writing[w] - 1);
    if
    :: w == 0 -> writing[0] = writing[1]
    :: else
    fi;
    writing[1] = 0
}

inline begin(w, one) {
    todo = todo & ~one;
    message[xid_next] = one;
    in_progress = in_progress | BIT(xid_next);
    printf("postgres: message %d begins as transaction %d\n", one, xid_next);
    xid_next++;
    writing[w] = xid_next
}

inline commit(w) { /* the row and its outbox row */
    printf("postgres: transaction %d commits\n", writing[w] - 1);
    outbox = outbox | BIT(writing[w] - 1);
    rows = rows | message[writing[w] - 1];
    fall_behind();
    leave(w)
}

inline roll_back(w) {
    rollbacks--;
    printf("postgres: transaction %d rolls back\n", writing[w] - 1);
    todo = todo | message[writing[w] - 1];
    message[writing[w] - 1] = 0;
    leave(w)
}

/* Two writers. All messages are alike, so the first that is left is as good as any. */
proctype writers() {
    byte w;
end:
    do
    :: d_step {
           todo != 0 && XIDS_LEFT && writing[1] == 0 ->
           w = (writing[0] != 0 -> 1 : 0);
           if
           :: todo & 1 -> begin(w, 1)
           :: !(todo & 1) && (todo & 2) -> begin(w, 2)
           :: !(todo & 3) -> begin(w, 4)
           fi;
           w = 0
       }
    :: d_step { writing[0] != 0 -> commit(0) }
    :: d_step { writing[1] != 0 -> commit(1) }
    :: d_step { writing[0] != 0 && rollbacks > 0 -> roll_back(0) }
    :: d_step { writing[1] != 0 && rollbacks > 0 -> roll_back(1) }
    od
}

inline begin_again(s) {
    cut[s] = false;
    if
    :: lock == s + 1 -> lock = 0
    :: else
    fi;
    clear_tick(seen);
    boundary = 0; found = 0;
    ticking[s] = false
}

/* `counted` of a tick must be exactly what its snapshot shows. */
inline check_counted(tick, doubled) {
    no_double_count = !doubled && (tick.counted & ~shown) == 0;
    assert(no_double_count);
    no_loss = (shown & ~tick.counted) == 0;
    assert(no_loss)
}

inline read_found() {
    if
    :: true -> found = epoch_shown
    :: epoch_shown > newest.epoch && !calm -> found = 0 /* not reached; no matter if it is lower */
    fi
}

#define IN_USE(t) (t == newest.token || t == newest_saved.token || \
                   t == memory[0].base || t == memory[1].base)

/* Any that nobody holds: the smallest one, so that equal states look equal. */
inline new_token(it) {
    it = 0;
    do
    :: IN_USE(it) -> it++
    :: else -> break
    od
}

#ifdef MUTANT_LOCK_BEFORE_SNAPSHOT
#define TAKE_KEYS epochs = epochs | BIT(seen.epoch); boundaries = boundaries | BIT(seen.boundary);
#define KEYS_TAKEN ((epochs & BIT(seen.epoch)) || (boundaries & BIT(seen.boundary)))
#else
#define TAKE_KEYS
#define KEYS_TAKEN false
#endif

inline commit_tick() {
    new_token(seen.token);
    TAKE_KEYS
    fall_behind();
    if
    :: seen.epoch > newest.epoch -> copy_tick(seen, newest)
    :: else
    fi;
    lock = 0;
    printf("postgres: the tick at epoch %d commits\n", seen.epoch);
    if
    :: seen.epoch > epoch_shown -> epoch_shown = seen.epoch
    :: else
    fi
}

proctype syncer(byte s) {
    byte boundary, found, x, sum, shown;
    bool again;
    Tick seen; /* the newest tick as read; then the tick as it will be committed */
idle:
    do
    :: atomic { /* fold, first statement */
           !memory[s].held && newest.cluster == cluster -> begin_from(s, newest)
       }
    :: d_step { /* fold, second statement: its snapshot, the newest token and the rows are one read */
           memory[s].held && (memory[s].base != newest.token || FRESH(memory[s].xmax, memory[s].xip)) ->
           if
#ifndef MUTANT_MEMORY_CHECKED
           :: memory[s].base != newest.token -> forget(s)
#endif
           :: else ->
              carried(FRESH(memory[s].xmax, memory[s].xip), memory[s].sums, memory[s].twice);
              memory[s].xmax = xmax; memory[s].xip = XIP_NOW;
              printf("syncer %d: folds; its memory holds messages %d\n", s, memory[s].sums)
           fi
       }
    :: atomic { /* a tick of the ticker's; KeyDB's watermark is read before the transaction */
           boundary_now > newest.boundary ->
           boundary = boundary_now;
           ticking[s] = true;
           read_found();
           goto tick
       }
    :: atomic { faults > 0 && memory[s].held -> faults--; forget(s); printf("syncer %d: dies\n", s) }
    :: atomic { newest.boundary == LAST_TICK -> goto done }
    od;

tick:
#ifdef MUTANT_LOCK_BEFORE_SNAPSHOT
    /* One statement: its snapshot is older than the lock it waits for. */
    if
    :: atomic { cut[s] -> begin_again(s); goto idle }
    :: atomic {
           !cut[s] ->
           copy_tick(newest, seen);
           printf("syncer %d: reads the newest tick, epoch %d, before it has the lock\n", s, seen.epoch)
       }
    fi;
#endif
    if
    :: atomic { cut[s] -> begin_again(s); goto idle }
    :: atomic { !cut[s] && lock == 0 -> lock = s + 1; printf("syncer %d: has the lock\n", s) }
    fi;
    if
    :: atomic { cut[s] -> begin_again(s); goto idle }
    :: atomic {
           !cut[s] ->
#ifndef MUTANT_LOCK_BEFORE_SNAPSHOT
           copy_tick(newest, seen);
#endif
           if
           :: boundary <= seen.boundary -> begin_again(s); goto idle
           :: else
           fi;
           if
           :: seen.epoch > found -> seen.epoch++
           :: else -> seen.epoch = found + 1
           fi;
           seen.boundary = boundary;
           found = 0;
#ifndef MUTANT_SAME_CLUSTER
           if
           :: seen.cluster != cluster -> goto baseline
           :: else
           fi;
#endif
           if
#ifdef MUTANT_MEMORY_CHECKED
           :: !memory[s].held -> begin_from(s, seen)
#else
           :: !memory[s].held || memory[s].base != seen.token -> begin_from(s, seen)
#endif
           :: else
           fi
       }
    :: atomic { faults > 0 -> faults--; forget(s); begin_again(s); goto idle }
    fi;

    /* INSERT_TICK: one statement, hence one snapshot. */
    if
    :: atomic { cut[s] -> begin_again(s); goto idle }
    :: atomic {
           !cut[s] && KEYS_TAKEN ->
           forget(s); begin_again(s); goto idle /* a unique key refuses it: the program dies */
       }
    :: d_step {
           !cut[s] && !KEYS_TAKEN ->
           sum = memory[s].sums; again = memory[s].twice;
           carried(FRESH(memory[s].xmax, memory[s].xip), sum, again);
           again = again || (sum & newest.counted);
           seen.counted = newest.counted | sum;
           shown = rows;
           printf("syncer %d: tick at epoch %d counts messages %d (memory %d) while %d are shown\n",
                  s, seen.epoch, seen.counted, memory[s].sums, shown);
           check_counted(seen, again);
           shown = 0; sum = 0; again = false;
           seen.xmax = xmax; seen.xip = XIP_NOW; seen.cluster = cluster
       }
    :: atomic { faults > 0 -> faults--; forget(s); begin_again(s); goto idle }
    fi;

    if
    :: atomic { cut[s] -> begin_again(s); goto idle }
    :: atomic { !cut[s] -> commit_tick(); begin_from(s, seen) }
    :: atomic { !cut[s] && faults > 0 -> faults--; commit_tick(); forget(s) } /* its answer is lost */
    :: atomic { faults > 0 -> faults--; forget(s); begin_again(s); goto idle }
    fi;
    goto written;

baseline: /* locks out the writers; counts all from the user's tables and empties the outbox */
    if
    :: atomic { cut[s] -> begin_again(s); goto idle }
    :: atomic {
           !cut[s] && in_progress == 0 ->
           outbox = 0;
           seen.counted = rows; seen.xmax = xmax; seen.xip = 0; seen.cluster = cluster;
           commit_tick();
           forget(s)
       }
    :: atomic { faults > 0 -> faults--; forget(s); begin_again(s); goto idle }
    fi;

written:
    atomic { begin_again(s); goto idle }

done:
    atomic { forget(s) }
}

/* A promoted replica, or a restored dump: what was not in the copy never happened. */
inline come_back() {
    copy_tick(newest_saved, newest);
    /* A message whose row was lost comes again if it was not acknowledged. */
    if
    :: true -> todo = todo | (rows & ~rows_saved)
    :: (rows & ~rows_saved) -> skip
    fi;
    x = 0;
    do
    :: x < 2 ->
       if
       :: writing[x] != 0 -> todo = todo | message[writing[x] - 1]; writing[x] = 0
       :: else
       fi;
       cut[x] = ticking[x];
       FORGET_CUT(x)
       x++
    :: else -> break
    od;
    x = 0;
    rows = rows_saved; outbox = outbox_saved;
#ifdef MUTANT_LOCK_BEFORE_SNAPSHOT
    epochs = epochs_saved; boundaries = boundaries_saved;
#endif
    in_progress = 0; lock = 0;
    do
    :: x < XID_END ->
       if
       :: !(outbox & BIT(x)) -> message[x] = 0
       :: else
       fi;
       x++
    :: else -> break
    od;
    x = 0;
    todo = todo & ~rows;
    drop_copy()
}

proctype environment() {
    byte x;
end:
    do
    :: atomic { boundary_now < TICKS && newest.boundary == boundary_now -> boundary_now++ }
#if defined(FAILOVER) || defined(ELSEWHERE)
    :: atomic {
           faults > 0 && !saved ->
           copy_tick(newest, newest_saved);
           rows_saved = rows; outbox_saved = outbox; xmax_saved = xmax;
           saved = true;
#ifdef MUTANT_LOCK_BEFORE_SNAPSHOT
           epochs_saved = epochs; boundaries_saved = boundaries
#endif
       }
#ifdef FAILOVER
    :: atomic { /* asynchronous failover */
           faults > 0 && saved ->
           faults--;
           xid_next = xmax_saved; xmax = xmax_saved;
           come_back();
           printf("postgres: fails over; rows are %d, its next transaction %d\n", rows, xid_next)
       }
#endif
#ifdef ELSEWHERE
    :: atomic { /* dump and restore elsewhere */
           faults > 0 && saved && !cluster ->
           faults--;
           come_back();
           cluster = true; xid_next = 0; xmax = 0;
           printf("postgres: restored elsewhere; rows are %d\n", rows)
       }
#endif
#endif
    :: atomic { /* the broker has delivered all, all faults are over */
           !calm && boundary_now == TICKS && in_progress == 0 && (todo == 0 || !XIDS_LEFT) ->
           calm = true; faults = 0; todo = 0; boundary_now = LAST_TICK
       }
    :: atomic { /* quiet */
           calm && newest.boundary == LAST_TICK ->
           no_loss = (rows & ~newest.counted) == 0;
           assert(no_loss);
           break
       }
    od
}

init {
    atomic { run writers(); run syncer(0); run syncer(1); run environment() }
}
