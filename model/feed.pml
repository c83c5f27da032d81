/* From the ticks to a consumer of change events, by a follower that only publishes:
 * services/feed, shared/follower.py, and the consumer's rules in docs/changes.md.
 *
 * That a tick counts rightly is shown in fold.pml, so here a tick is one step, with one change. The
 * feed publishes that as an event and `tick.closed`, or, when it starts anew, as a READ and
 * `tick.closed`; afterwards it moves its position. Where several ticks are due, it may publish the
 * next one first: then it waits for the confirm of one `tick.closed` together with the events of the
 * next tick. Of two feeds one has the lock. Ticks are numbered as they are made: that is their token.
 *
 * Faults: a feed dies at any step; one freezes, loses its connection and with it the lock, and wakes
 * while the other is at work; Postgres fails over and has lost its last commits. Besides, at any
 * time and for nothing: the broker loses or refuses a message, or a confirm is lost.
 *
 * Sets are bit masks of tokens.
 */

#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef TICKS
#define TICKS 3
#endif

#define TICKS_EVER (TICKS + 2) /* the last one comes when all faults are over */
#define BASE 1                 /* the tick that feed and consumer begin from */
#define NOBODY 2
#define BIT(n) (1 << (n))

bool no_loss = true;
bool no_mixed_ticks = true;
bool eventually_truth = true;

/* Every tick ever made. `holds` are the ticks up to it, in its own database: its balances. */
typedef Tick { byte epoch, holds };
Tick tick[TICKS_EVER + 1];

/* Postgres, and what a lagging replica has. */
byte ticks = BASE, newest = BASE, epoch_max = 1;
byte position = BASE;
byte newest_saved, position_saved;
bool cut[2]; /* the feed's connection is dead, and it will notice at its next statement */
byte lock;   /* the feed that holds it, plus one */
byte knows;  /* the feed that lives and published last */

/* The consumer: rules of docs/changes.md. */
byte balances, closed = BASE, arrived;
byte read_from[2]; /* what a feed's READ said, kept until its tick.closed */
bool missed;       /* it knows that it missed something */

byte faults = FAULTS;
bool failed_over, calm;
bool excused; /* no feed that is at work can know what was published: somebody has to say so */
bool asked;
byte ended;

/* An operator has it start anew, if no feed can know by itself. */
#define OPERATOR_DUE (missed && excused && !asked && position != 0)

#define IS_HERE(t) (tick[newest].holds & BIT(t))

/* The position, and what was published last in this life, must be ticks of this database. */
#ifdef MUTANT_FOLLOWER_TOKEN
#define IS_OURS(t) (tick[t].epoch <= tick[newest].epoch)
#else
#define IS_OURS(t) IS_HERE(t)
#endif

#define MUST_START_ANEW (position == 0 || !IS_OURS(position) || (last != 0 && !IS_OURS(last)))

/* The oldest tick after `before` among those that it saw as it looked. */
inline look_up_next() {
    next = BASE;
    do
    :: next <= ticks && (tick[seen].holds & BIT(next)) && tick[next].epoch > tick[before].epoch -> break
    :: else -> next++
    od
}

#define IS_ANOTHER_DUE (!anew && tick[next].epoch < tick[seen].epoch)

inline go_on() {
    before = next;
    look_up_next();
    printf("feed %d: goes on with tick %d\n", f, next)
}

inline consume_event(t) {
    if
    :: tick[t].epoch > tick[closed].epoch ->
#ifdef MUTANT_EVENTS_BY_TICK
       balances = balances | BIT(t);
#endif
       arrived = arrived | BIT(t)
    :: else /* a repetition */
    fi
}

/* It came after the tick that was closed last, and all of its events did. */
#ifdef MUTANT_PREVIOUS_COMPARED
#define IS_WHOLE(t, previous) (arrived & BIT(t))
#else
#define IS_WHOLE(t, previous) (previous == closed && (arrived & BIT(t)))
#endif

inline consume_closed(t, previous) {
    if
    :: missed || tick[t].epoch <= tick[closed].epoch -> skip /* waits for READ; or a repetition */
    :: !missed && tick[t].epoch > tick[closed].epoch && IS_WHOLE(t, previous) ->
       balances = balances | BIT(t);
       closed = t;
       forget_older();
       printf("consumer: closes tick %d with %d\n", t, balances);
       check_balances()
    :: !missed && tick[t].epoch > tick[closed].epoch && !IS_WHOLE(t, previous) ->
       missed = true;
       printf("consumer: tick %d after %d, but has %d: missed something\n", t, previous, closed);
       no_loss = failed_over;
       assert(no_loss)
    fi
}

inline consume_anew(f, t) {
    balances = read_from[f];
    closed = t;
    missed = false; asked = false;
    forget_older();
    printf("consumer: all anew at tick %d\n", t);
    check_balances()
}

/* Events of ticks that are over: what is left of them is of a tick that was never closed. */
inline forget_older() {
    x = BASE;
    do
    :: x <= ticks ->
       if
       :: tick[x].epoch <= tick[closed].epoch -> arrived = arrived & ~BIT(x)
       :: else
       fi;
       x++
    :: else -> break
    od;
    x = 0
}

inline check_balances() {
    no_mixed_ticks = balances == tick[closed].holds;
    assert(no_mixed_ticks)
}

inline let_go() {
    mine = 0; before = 0; next = 0; seen = 0; anew = false; unconfirmed = false
}

inline lose_connection() {
    cut[f] = false;
    if
    :: lock == f + 1 -> lock = 0
    :: else
    fi;
    let_go()
}

inline take_lock() {
    lock = f + 1;
    excused = excused || knows != f;
    knows = f;
    printf("feed %d: has the lock\n", f)
}

/* That it published what is lost is forgotten only once all is told anew; and that it published a
 * later tick, not while it repeats those before. */
inline note_published() {
    if
#ifndef MUTANT_LOST_REMEMBERED
    :: last != 0 && !IS_OURS(last) -> skip
#endif
    :: last != 0 && IS_OURS(last) && tick[last].epoch > tick[next].epoch -> skip
    :: else -> last = next
    fi
}

#ifdef MUTANT_ALL_CONFIRMED
#define ALL_CONFIRMED true
#else
#define ALL_CONFIRMED !unconfirmed
#endif

#define DIES :: atomic { faults > 0 -> faults--; lose_connection(); last = 0; \
                         knows = (knows == f -> NOBODY : knows); \
                         printf("feed %d: dies\n", f); goto look }

proctype feed(byte f) {
    byte mine; /* the position, as it was read */
    byte before, next; /* the tick that it publishes, and the one before it */
    byte seen; /* the newest tick as it looked */
    bool unconfirmed; /* a `tick.closed` was lost, or its confirm */
    byte last; /* what it published last; kept over a lost connection */
    bool anew;
    byte x;
look: /* one snapshot: position and ticks */
    if
    :: atomic { cut[f] -> lose_connection(); goto look }
    :: atomic { !cut[f] && lock == 0 -> take_lock(); goto look }
    :: atomic {
           !cut[f] && lock == f + 1 && MUST_START_ANEW ->
           mine = position; next = newest; anew = true;
           printf("feed %d: starts anew at tick %d\n", f, next)
       }
    :: atomic {
           !cut[f] && lock == f + 1 && !MUST_START_ANEW &&
           tick[position].epoch < tick[newest].epoch ->
           mine = position; before = position; seen = newest;
           look_up_next();
           printf("feed %d: follows tick %d after tick %d\n", f, next, mine)
       }
    :: atomic {
           lock == f + 1 && calm && position == newest && !MUST_START_ANEW && !OPERATOR_DUE -> goto done
       }
    :: atomic { ended -> goto done }
    DIES
    fi;
#ifdef MUTANT_MOVE_AFTER_CONFIRM
    atomic {
        if
        :: !cut[f] && position == mine -> position = next
        :: else
        fi
    }
#endif

publish: /* the events, or what is READ */
    if
    :: atomic {
           true ->
           note_published();
           if
           :: anew -> read_from[f] = tick[next].holds
           :: else -> consume_event(next)
           fi;
           if
           :: ALL_CONFIRMED -> goto close
           :: unconfirmed || !calm -> let_go(); goto look /* a confirm is lost */
           fi
       }
    :: atomic { /* lost, or refused */
           !calm ->
           note_published();
#ifdef MUTANT_CLOSED_AFTER_CONFIRM
           if
           :: !anew -> goto close
           :: true -> let_go(); goto look
           fi
#else
           let_go(); goto look
#endif
       }
    DIES
    fi;

close: /* all events are confirmed */
    if
    :: atomic {
           true ->
           if
           :: anew -> consume_anew(f, next)
           :: else -> consume_closed(next, before)
           fi;
           if
           :: true -> goto move
           :: !calm -> let_go(); goto look
           :: IS_ANOTHER_DUE -> go_on(); goto publish
           fi
       }
    :: atomic { !calm -> let_go(); goto look }
    :: atomic { !calm && IS_ANOTHER_DUE -> unconfirmed = true; go_on(); goto publish }
    DIES
    fi;

move: /* it is confirmed, too: compare and set */
    if
    :: atomic { cut[f] -> lose_connection(); goto look }
    :: atomic {
           !cut[f] ->
           if
#ifndef MUTANT_MOVE_COMPARED
           :: position != mine -> printf("feed %d: was overtaken\n", f)
           :: position == mine ->
#else
           :: true ->
#endif
              position = next;
              printf("postgres: the feed's position is tick %d\n", position);
              if
              :: anew -> last = next
              :: !anew || !calm -> skip /* noted already; or the answer is lost */
              fi
           fi;
           let_go(); goto look
       }
    DIES
    fi;

done:
    atomic { let_go(); last = 0; ended++ }
}

inline write_tick(above) {
    ticks++;
    tick[ticks].epoch = above + 1;
    tick[ticks].holds = tick[newest].holds | BIT(ticks);
    newest = ticks;
    if
    :: tick[newest].epoch > epoch_max -> epoch_max = tick[newest].epoch
    :: else
    fi;
    printf("postgres: tick %d at epoch %d\n", newest, tick[newest].epoch)
}

proctype environment() {
end:
    do
    :: atomic { ticks < TICKS_EVER - 1 && !calm -> write_tick(tick[newest].epoch) }
    :: atomic { /* KeyDB shows a tick that a failover lost */
           ticks < TICKS_EVER - 1 && !calm && epoch_max > tick[newest].epoch -> write_tick(epoch_max)
       }
    :: atomic { faults > 0 && newest_saved == 0 -> newest_saved = newest; position_saved = position }
    :: atomic { /* failover: the last commits are gone */
           faults > 0 && newest_saved != 0 &&
           (newest_saved != newest || position_saved != position) ->
           faults--;
           failed_over = failed_over || newest_saved != newest;
           newest = newest_saved; position = position_saved;
           newest_saved = 0; position_saved = 0;
           cut[0] = true; cut[1] = true; lock = 0; asked = false;
           printf("postgres: fails over; newest is %d, position %d\n", newest, position)
       }
    :: atomic { /* a frozen feed loses its lock, and goes on when it wakes */
           faults > 0 && lock != 0 ->
           faults--;
           cut[lock - 1] = true; lock = 0;
           printf("feed: one freezes\n")
       }
    :: atomic { /* ops followers anew feed: only where no feed that lives can know */
           OPERATOR_DUE -> asked = true; position = 0; printf("operator: anew\n")
       }
    :: atomic {
           !calm && ticks == TICKS_EVER - 1 && !cut[0] && !cut[1] ->
           calm = true; faults = 0; newest_saved = 0; position_saved = 0;
           write_tick(epoch_max);
           printf("calm\n")
       }
    :: atomic { ended == 2 ->
           eventually_truth = closed == newest && !missed && balances == tick[newest].holds;
           assert(eventually_truth);
           break
       }
    od
}

init {
    atomic {
        tick[BASE].epoch = 1; tick[BASE].holds = BIT(BASE);
        balances = BIT(BASE);
        lock = 1;
        run feed(0); run feed(1); run environment()
    }
}
