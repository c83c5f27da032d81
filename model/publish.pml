/* From the ticks to KeyDB: services/syncer/{service,core,publisher,projection}.py and publish.lua.
 *
 * Two syncers publish ticks of two keys; one key may be removed and come back. That a tick counts
 * rightly is shown in fold.pml, so here its transaction is one step that invents new values. What a
 * key shows is named by the tick that last changed it (0: the key is not there), so a store that
 * mixes two ticks, or two lives of the database, is seen at once.
 *
 * Faults: a syncer dies between any two steps; Postgres fails over and has lost its last ticks;
 * KeyDB is emptied, or put back to an older state of its own. Besides, at any time and for nothing:
 * KeyDB cannot be reached; a reply is lost and the script sent again; a script that was given up
 * still runs later. With CHUNKED, a publication takes two scripts, the first under a claim.
 *
 * With SPLIT the fault of Postgres is a split network: a replica is promoted while the old primary
 * lives, each has a syncer of its own, and later one of the two is gone, with its commits.
 */

#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef TICKS
#define TICKS 3
#endif

#ifndef LOST_EVER
#define LOST_EVER 1
#endif

#define TICKS_EVER (TICKS + LOST_EVER + 1) /* with those that a failover lost, and the last one */
#define LAST_TICK (TICKS + 1)  /* comes when all faults are over */
#define CLAIM 8                /* tokens from here on are claims of chunks; they are never a tick's */
#define BIT(n) (1 << (n))

bool no_write_back_in_time = true;
bool no_mixed_ticks = true;
bool eventually_truth = true;

#if defined(MUTANT_TOKEN) || defined(MUTANT_TOKEN_OF_A_SPLIT)
#define EPOCH_ALONE
#endif

/* Every tick ever written, by its token (their order). `live` are those that a database has. */
typedef Tick { byte epoch, boundary, a, b };
Tick tick[TICKS_EVER + 1];
byte ticks;
byte live_saved, newest_saved; /* what a lagging replica has */
#ifdef SPLIT
#define DATABASES 2
#define DB(s) connected[s]
byte connected[2]; /* which database a syncer is connected to */
#else
#define DATABASES 1
#define DB(s) 0
#endif
byte live[DATABASES] = 1, newest[DATABASES];
bool split;
#define LIVE_HERE live[DB(s)] /* of the database that syncer s is connected to */
#define NEWEST newest[DB(s)]

/* KeyDB: the watermark and two keys; and an older state of it. */
typedef Store { byte epoch, token, a, b };
Store keydb, dump;

/* What a syncer sends: compare with `from`, then set or remove. Values are those of tick `values`. */
typedef Script { bool sent; byte from_epoch, from_token, to_epoch, to_token, values, set, remove };
Script script[2];
byte found_token[2];
Script late; /* given up by its sender, not yet by the network */

byte boundary_now, faults = FAULTS;
byte ended;
bool calm, cut[2];

#ifdef EPOCH_ALONE
#define SHOWS(e, t) (keydb.epoch == e)
#else
#define SHOWS(e, t) (keydb.epoch == e && keydb.token == t)
#endif

#define SHOWN_AS_FOUND(s) (keydb.token == found_token[s] && keydb.epoch == found_epoch)

#define A 1
#define B 2

inline copy_script(from, to) {
    to.sent = true; to.from_epoch = from.from_epoch; to.from_token = from.from_token;
    to.to_epoch = from.to_epoch; to.to_token = from.to_token; to.values = from.values;
    to.set = from.set; to.remove = from.remove
}

inline clear_script(it) {
    it.sent = false; it.from_epoch = 0; it.from_token = 0; it.to_epoch = 0; it.to_token = 0;
    it.values = 0; it.set = 0; it.remove = 0
}

inline check_keydb() {
    no_mixed_ticks = keydb.token == 0 || keydb.token >= CLAIM ||
        (keydb.a == tick[keydb.token].a && keydb.b == tick[keydb.token].b);
    assert(no_mixed_ticks)
}

/* publish.lua */
inline run_script(it, fenced) {
    fenced = false;
    if
    :: SHOWS(it.to_epoch, it.to_token) -> skip /* done */
#ifdef MUTANT_COMPARE_AND_SET
    :: else ->
#else
    :: !SHOWS(it.to_epoch, it.to_token) && !SHOWS(it.from_epoch, it.from_token) -> fenced = true
    :: !SHOWS(it.to_epoch, it.to_token) && SHOWS(it.from_epoch, it.from_token) ->
#endif
       no_write_back_in_time = it.to_epoch >= keydb.epoch;
       assert(no_write_back_in_time);
       if
       :: it.set & A -> keydb.a = tick[it.values].a
       :: else
       fi;
       if
       :: it.set & B -> keydb.b = tick[it.values].b
       :: else
       fi;
       if
       :: it.remove & A -> keydb.a = 0
       :: else
       fi;
       if
       :: it.remove & B -> keydb.b = 0
       :: else
       fi;
       keydb.epoch = it.to_epoch; keydb.token = it.to_token;
       printf("keydb: shows epoch %d token %d, a of %d, b of %d\n",
              keydb.epoch, keydb.token, keydb.a, keydb.b);
       check_keydb()
    fi
}

/* The tick transaction, as fold.pml shows it: atomic, numbered above Postgres's and KeyDB's. */
inline write_tick(at, shown) {
    ticks++;
    tick[ticks].boundary = at;
    tick[ticks].epoch = tick[NEWEST].epoch + 1;
#ifndef MUTANT_EPOCH_ABOVE_KEYDB
    if
    :: shown > tick[NEWEST].epoch -> tick[ticks].epoch = shown + 1
    :: else
    fi;
#endif
    tick[ticks].a = tick[NEWEST].a; tick[ticks].b = tick[NEWEST].b;
    if
    :: true -> tick[ticks].a = ticks
    :: true -> tick[ticks].b = ticks
    :: tick[NEWEST].b != 0 -> tick[ticks].b = 0
    fi;
    NEWEST = ticks;
    LIVE_HERE = LIVE_HERE | BIT(ticks);
    printf("postgres: tick %d at epoch %d, a of %d, b of %d\n",
           NEWEST, tick[NEWEST].epoch, tick[NEWEST].a, tick[NEWEST].b)
}

inline let_go(s) {
    found_epoch = 0; found_token[s] = 0; target = 0; known = 0; boundary = 0; chunk = 0;
    clear_script(script[s])
}

/* Is the watermark one that this database wrote? By epoch alone, a lost tick passes for ours. */
inline look_up(it) {
    it = 0;
#ifdef EPOCH_ALONE
    x = 1;
    do
    :: x <= ticks ->
       if
       :: (LIVE_HERE & BIT(x)) && tick[x].epoch == found_epoch -> it = x
       :: else
       fi;
       x++
    :: else -> break
    od;
    x = 0
#else
    if
    :: found_token[s] < CLAIM && (LIVE_HERE & BIT(found_token[s])) -> it = found_token[s]
    :: else
    fi
#endif
}

#define CLAIMED(t) (t == keydb.token || t == dump.token || t == found_token[0] || \
                    t == found_token[1] || OF(script[0], t) || OF(script[1], t) || OF(late, t))
#define OF(it, t) (t == it.from_token || t == it.to_token)

/* One that nobody holds: the smallest, so that equal states look equal. */
inline new_claim(it) {
    it = CLAIM;
    do
    :: CLAIMED(it) -> it++
    :: else -> break
    od
}

#define CRASH :: atomic { faults > 0 -> faults--; cut[s] = false; behind = true; let_go(s); \
                          printf("syncer %d: dies\n", s); goto idle }
#define CUT :: atomic { cut[s] -> cut[s] = false; behind = true; let_go(s); goto idle }
#define UNREACHED :: atomic { !calm -> behind = true; let_go(s); goto idle }

/* The newest balances at or below the tick's epoch. */
#ifdef MUTANT_VALUES_AT_EPOCH
#define VALUES NEWEST
#else
#define VALUES target
#endif

/* A tick that waits is taken first. That matters only where publishing could go on without end. */
#if defined(LIVE) && !defined(MUTANT_TICK_FIRST)
#define TICK_FIRST (calm && boundary_now > tick[NEWEST].boundary)
#else
#define TICK_FIRST false
#endif

proctype syncer(byte s) {
    byte boundary, found_epoch, target, known, x, chunk;
    bool behind = true, fenced; /* who starts shows the last tick at once */
idle:
    do
    CUT
    :: atomic { !cut[s] && behind && !TICK_FIRST -> goto publish }
    :: atomic { !cut[s] && boundary_now > tick[NEWEST].boundary -> boundary = boundary_now; break }
    :: atomic {
           !cut[s] && calm && !behind && tick[NEWEST].boundary == LAST_TICK && !late.sent -> goto done
       }
    od;

    /* tick(): KeyDB's watermark, or none; then the transaction, under the lock, known as one step */
    if
    :: atomic { true -> found_epoch = keydb.epoch; found_token[s] = keydb.token; known = 1 }
    :: atomic { !calm -> known = 0 }
    fi;
    if
    CUT
    :: atomic {
           !cut[s] ->
           if
           :: boundary > tick[NEWEST].boundary &&
              (ticks < TICKS_EVER - 1 || (calm && ticks < TICKS_EVER)) ->
              write_tick(boundary, found_epoch)
           :: else
           fi;
           boundary = 0;
           if
           :: known == 0 -> behind = true; let_go(s); goto idle
           :: else -> known = 0; goto plan
           fi
       }
    fi;

publish:
    if
    :: atomic { true -> found_epoch = keydb.epoch; found_token[s] = keydb.token }
    UNREACHED
    fi;

plan: /* newest_tick, is_ours, classify_watermark */
    if
    CUT
    :: atomic { !cut[s] && NEWEST == 0 -> behind = false; let_go(s); goto idle } /* the baseline */
    :: atomic {
           !cut[s] && NEWEST != 0 ->
           target = NEWEST;
           look_up(known);
           if
           :: known != 0 && tick[known].epoch >= tick[target].epoch ->
              behind = false; let_go(s); goto idle
#ifndef MUTANT_MUST_WAIT
           :: known == 0 && found_token[s] != 0 && found_epoch >= tick[target].epoch ->
              /* No further tick comes, and nobody can move KeyDB: it would stay wrong. */
              eventually_truth = !(calm && tick[NEWEST].boundary == LAST_TICK && SHOWN_AS_FOUND(s));
              assert(eventually_truth);
              behind = true; let_go(s); goto idle
#endif
           :: else
           fi
       }
    CRASH
    fi;

    /* changes, or everything */
    if
    CUT
    :: atomic {
           !cut[s] ->
           script[s].from_epoch = found_epoch; script[s].from_token = found_token[s];
           script[s].values = VALUES;
           if
           :: known != 0 && tick[VALUES].a != tick[known].a -> script[s].set = A
           :: known == 0 && tick[VALUES].a != 0 -> script[s].set = A
           :: else
           fi;
           if
           :: known != 0 && tick[VALUES].b != tick[known].b && tick[VALUES].b != 0 ->
              script[s].set = script[s].set | B
           :: known != 0 && tick[VALUES].b == 0 && tick[known].b != 0 -> script[s].remove = B
           :: known == 0 && tick[VALUES].b != 0 -> script[s].set = script[s].set | B
           :: else
           fi;
           if
           :: known == 0 -> known = CLAIM /* everything is sent */
           :: else -> known = 0; goto ready
           fi
       }
    fi;

    /* What is there of ours and should not be: a read of KeyDB of its own, with its watermark. */
    if
    :: atomic {
           true ->
#ifndef MUTANT_KEYS_WITH_WATERMARK
           if
           :: !SHOWN_AS_FOUND(s) ->
              behind = true; let_go(s); goto idle
           :: else
           fi;
#endif
#ifndef MUTANT_REMOVALS
           script[s].remove = ((keydb.a != 0 -> A : 0) | (keydb.b != 0 -> B : 0)) & ~script[s].set;
#endif
           known = 0
       }
    UNREACHED
    fi;

ready:
    atomic {
#ifdef CHUNKED
        /* Two chunks, of a key each, the first under a claim of this publication alone. */
        new_claim(x);
        script[s].to_token = x;
        x = 0;
        chunk = script[s].set | (script[s].remove << 2);
        script[s].set = script[s].set & A; script[s].remove = script[s].remove & A;
        script[s].to_epoch = script[s].from_epoch;
#else
        script[s].to_epoch = tick[target].epoch; script[s].to_token = target; target = 0;
#endif
        found_epoch = 0; found_token[s] = 0
    }

send: /* apply */
    if
    :: atomic {
           printf("syncer %d: sends tick %d, expecting token %d\n",
                  s, script[s].to_token, script[s].from_token);
           run_script(script[s], fenced);
           if
           :: fenced -> fenced = false; behind = true; let_go(s); goto idle
           :: !fenced -> skip
           :: !fenced && !calm -> /* the reply is lost; it is sent again */
              printf("syncer %d: gets no answer\n", s);
              goto send
           :: !fenced && !calm -> behind = true; let_go(s); goto idle /* lost twice */
           fi
       }
#ifndef NO_LATE
    :: atomic { /* given up, but on its way */
           !calm && !late.sent ->
           copy_script(script[s], late);
           printf("syncer %d: gives up a script that is still on its way\n", s);
           behind = true; let_go(s); goto idle
       }
#endif
    UNREACHED
    CRASH
    fi;

#ifdef CHUNKED
    if
    :: atomic {
           script[s].to_token != target ->
           script[s].from_epoch = script[s].to_epoch; script[s].from_token = script[s].to_token;
           script[s].to_epoch = tick[target].epoch; script[s].to_token = target;
           script[s].set = chunk & B; script[s].remove = (chunk >> 2) & B; chunk = 0;
           goto send
       }
    :: atomic { script[s].to_token == target -> skip }
    fi;
#endif
    atomic { behind = false; let_go(s); goto idle }

done:
    atomic { ended++ }
}

#ifdef SPLIT
#define IS_WRITTEN(b) \
    (tick[newest[0]].boundary == b || (split && tick[newest[1]].boundary == b))
#else
#define IS_WRITTEN(b) (tick[newest[0]].boundary == b)
#endif

proctype environment() {
    bool fenced;
end:
    do
    :: atomic { boundary_now < TICKS && IS_WRITTEN(boundary_now) -> boundary_now++ }
    :: atomic {
           late.sent ->
           printf("keydb: runs a script that was given up\n");
           run_script(late, fenced);
           fenced = false;
           clear_script(late)
       }
    :: atomic { late.sent -> clear_script(late) }
    :: atomic { faults > 0 && live_saved == 0 -> live_saved = live[0]; newest_saved = newest[0] }
#ifdef SPLIT
    :: atomic { /* a lagging replica is promoted, and the old primary lives: each has one syncer */
           faults > 0 && live_saved != 0 && !split ->
           faults--;
           live[1] = live_saved; newest[1] = newest_saved; live_saved = 0; newest_saved = 0;
           connected[1] = 1; cut[1] = true; split = true;
           printf("postgres: splits; the newest tick of the other one is %d\n", newest[1])
       }
    :: atomic { /* one of the two is gone, with its commits; its syncer connects to the other one */
           split ->
           if
           :: true -> cut[1] = true
           :: true -> cut[0] = true; live[0] = live[1]; newest[0] = newest[1]
           fi;
           live[1] = 1; newest[1] = 0; connected[1] = 0; split = false;
           printf("postgres: one stays; its newest tick is %d\n", newest[0])
       }
#else
    :: atomic { /* failover: the last ticks are gone */
           faults > 0 && live_saved != 0 && live_saved != live[0] ->
           faults--;
           live[0] = live_saved; newest[0] = newest_saved; live_saved = 0; newest_saved = 0;
           cut[0] = true; cut[1] = true;
           printf("postgres: fails over; its newest tick is %d\n", newest[0])
       }
#endif
    :: atomic { /* KeyDB writes a file */
           faults > 0 && dump.token == 0 && keydb.token != 0 ->
           dump.epoch = keydb.epoch; dump.token = keydb.token; dump.a = keydb.a; dump.b = keydb.b
       }
    :: atomic { /* and comes back with it, or with nothing */
           faults > 0 && keydb.token != dump.token ->
           faults--;
           keydb.epoch = dump.epoch; keydb.token = dump.token; keydb.a = dump.a; keydb.b = dump.b;
           dump.epoch = 0; dump.token = 0; dump.a = 0; dump.b = 0;
           printf("keydb: back with token %d\n", keydb.token)
       }
    :: atomic { /* all faults are over, and nothing that they left is still on its way */
           !calm && !split && boundary_now == TICKS && !late.sent && !cut[0] && !cut[1] ->
           calm = true; faults = 0; boundary_now = LAST_TICK;
           live_saved = 0; newest_saved = 0;
           dump.epoch = 0; dump.token = 0; dump.a = 0; dump.b = 0;
           printf("calm\n")
       }
    :: atomic { calm && ended == 2 -> /* both syncers have nothing left to do */
           eventually_truth = keydb.token == newest[0] && keydb.a == tick[newest[0]].a &&
               keydb.b == tick[newest[0]].b;
           assert(eventually_truth);
           break
       }
    od
}

#ifdef LIVE
/* Of runs without end, too: the assertions above see only those that end. */
#define SHOWN (tick[newest[0]].boundary == LAST_TICK && keydb.token == newest[0] && \
               keydb.a == tick[newest[0]].a && keydb.b == tick[newest[0]].b)
ltl eventually_shown { [] (calm -> <> [] SHOWN) }
#endif

init {
    atomic { run syncer(0); run syncer(1); run environment() }
}
