/* From the ticks to notifications, by a follower that writes: services/notifier, shared/follower.py.
 *
 * Two notifiers at once, though a lock keeps the second one waiting: nothing here relies on it. Each
 * tick makes one notification. It is written in one transaction with the position, which is compared
 * and set first, and so holds the row's lock; then it is published, and noted as sent once it is
 * confirmed. Ticks are numbered as they are made: that is their token, and the notification's id.
 * That the id is a primary key would hide most of what two at once could do, so it is not even here.
 *
 * Faults: a notifier dies at any step; its connection is lost before, in or after its COMMIT;
 * Postgres fails over and has lost its last commits. Besides, at any time and for nothing: the
 * broker loses or refuses a message, or its confirm is lost.
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
#define BASE 1                 /* the tick that the notifier begins from */
#define BIT(n) (1 << (n))

bool no_loss = true;
bool no_double_count = true;

/* Postgres. `holds` are its due ticks, by token: a later one has the larger token. */
byte ticks = BASE, newest = BASE, holds = BIT(BASE);
byte position = BASE, told, sent;
byte row_lock; /* the notifier that has moved the position and not committed yet, plus one */
byte newest_saved, holds_saved, position_saved, told_saved, sent_saved; /* a lagging replica */
bool cut[2]; /* the notifier's connection is dead, and it will notice at its next statement */

byte delivered; /* what a queue has taken */
byte faults = FAULTS;
bool calm;
byte ended;

inline look_up_next() {
    next = mine + 1;
    do
    :: holds & BIT(next) -> break
    :: else -> next++
    od
}

/* The connection is gone, and with it what was not committed. */
inline begin_again() {
    cut[n] = false;
    if
    :: row_lock == n + 1 -> row_lock = 0
    :: else
    fi;
    mine = 0; next = 0; one = 0
}

inline write() {
    no_double_count = (told & BIT(next)) == 0;
    assert(no_double_count);
    told = told | BIT(next);
    printf("notifier %d: writes the notification of tick %d\n", n, next)
}

inline move() {
    position = next;
    printf("notifier %d: the position is tick %d\n", n, position)
}

#define CUT :: atomic { cut[n] -> begin_again(); goto idle }
#define DIES :: atomic { faults > 0 -> faults--; begin_again(); \
                         printf("notifier %d: dies\n", n); goto idle }

proctype notifier(byte n) {
    byte mine; /* the position, as it was read */
    byte next; /* the tick that it judges */
    byte one;  /* the tick whose notification it publishes */
idle:
    if
    CUT
    :: atomic { /* one snapshot: position and ticks */
           !cut[n] && position < newest -> mine = position; look_up_next(); goto judge
       }
    :: atomic { !cut[n] && (told & ~sent & BIT(2)) -> one = 2; goto publish }
    :: atomic { !cut[n] && (told & ~sent & BIT(3)) -> one = 3; goto publish }
    :: atomic { !cut[n] && (told & ~sent & BIT(4)) -> one = 4; goto publish }
    :: atomic { !cut[n] && (told & ~sent & BIT(5)) -> one = 5; goto publish }
    :: atomic {
           !cut[n] && calm && position == newest && told == sent -> goto done
       }
    fi;

judge: /* UPDATE follower ... WHERE it is still the position that was read: waits for the row */
    if
    CUT
#ifdef MUTANT_POSITION_WITH_WORK
    :: atomic { !cut[n] && row_lock == 0 && position == mine -> move() }
    :: atomic { !cut[n] && row_lock == 0 && position != mine -> begin_again(); goto idle }
#else
#ifdef MUTANT_POSITION_COMPARED
    :: atomic { !cut[n] && row_lock == 0 -> row_lock = n + 1 }
#else
    :: atomic { !cut[n] && row_lock == 0 && position == mine -> row_lock = n + 1 }
    :: atomic { !cut[n] && row_lock == 0 && position != mine -> begin_again(); goto idle }
#endif
#endif
    DIES
    fi;

    /* the notification, and COMMIT */
    if
    CUT
    :: atomic {
           !cut[n] ->
           write();
#ifndef MUTANT_POSITION_WITH_WORK
           move();
#endif
           begin_again(); goto idle /* whether it gets the answer or not: it looks again */
       }
    DIES
    fi;

publish:
    if
    :: atomic {
           true ->
           delivered = delivered | BIT(one);
           printf("rabbitmq: has the notification of tick %d\n", one);
           if
           :: true -> goto note
           :: !calm -> begin_again(); goto idle /* the confirm is lost */
           fi
       }
    :: atomic { /* lost, refused, or no queue took it */
           !calm ->
#ifdef MUTANT_NOTE_AFTER_CONFIRM
           goto note
#else
           begin_again(); goto idle
#endif
       }
    DIES
    fi;

note: /* UPDATE notification SET sent_at */
    if
    CUT
    :: atomic {
           !cut[n] ->
           sent = sent | (told & BIT(one));
           no_loss = (sent & ~delivered) == 0;
           assert(no_loss);
           begin_again(); goto idle
       }
    DIES
    fi;

done:
    atomic { ended++ }
}

inline write_tick() {
    ticks++;
    newest = ticks;
    holds = holds | BIT(ticks);
    printf("postgres: tick %d\n", newest)
}

inline drop_copy() {
    newest_saved = 0; holds_saved = 0; position_saved = 0; told_saved = 0; sent_saved = 0
}

proctype environment() {
end:
    do
    :: atomic { ticks < TICKS_EVER - 1 && !calm -> write_tick() }
    :: atomic {
           faults > 0 && newest_saved == 0 ->
           newest_saved = newest; holds_saved = holds; position_saved = position;
           told_saved = told; sent_saved = sent
       }
    :: atomic { /* failover: the last commits are gone */
           faults > 0 && newest_saved != 0 ->
           faults--;
           newest = newest_saved; holds = holds_saved; position = position_saved;
           told = told_saved; sent = sent_saved;
           drop_copy();
           row_lock = 0; cut[0] = true; cut[1] = true;
           printf("postgres: fails over; newest is %d, position %d\n", newest, position)
       }
    :: atomic {
           !calm && ticks == TICKS_EVER - 1 && !cut[0] && !cut[1] ->
           calm = true; faults = 0;
           drop_copy();
           write_tick();
           printf("calm\n")
       }
    :: atomic { calm && ended == 2 -> /* each tick since then was told, and is with the broker */
           no_loss = (holds & ~BIT(BASE)) == told && (told & ~delivered) == 0;
           assert(no_loss);
           break
       }
    od
}

init {
    atomic { run notifier(0); run notifier(1); run environment() }
}
