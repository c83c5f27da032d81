/* Two writers of one ingest on one channel: services/ingest/{writer,helper,turns}.py.
 *
 * The channel delivers messages 1 to N. An acknowledgement speaks for all up to its number, so
 * COMMITs wait for their turn; what cannot be committed is given back and taken again, in order and
 * without gaps. What is committed and not acknowledged would be stored again if ingest died, where
 * messages have no identity: it may be one batch at a time.
 *
 * Faults: a statement fails, a connection is lost. Message 1 is refused where it is alone (so that
 * it cannot be told from a Postgres that refuses everything). A batch waits for its turn as long as
 * it pleases. Death, lost channels and lost answers are ingest.pml's.
 *
 * Sets of messages are bit masks: message n is bit n - 1.
 */

#ifndef N
#define N 7
#endif
#ifndef FAULTS
#define FAULTS 4
#endif
#define MAX 2

#define ALL ((1 << N) - 1)
#define LOWEST(set) ((set) & -(set))
#define BELOW(one) ((one) - 1)
#define OLDER(w) (hand[1 - w] & BELOW(LOWEST(hand[w])))

bool no_loss = true;
bool no_double_count = true;

byte fresh = ALL;  /* received and not taken yet */
byte back;         /* given back */
byte hand[2];      /* in hand of the first writer, of the second */
byte rows;         /* committed */
byte unacked;      /* committed, and not acknowledged yet */
byte acked;
byte faults = FAULTS;
byte ended;

inline move(from) {
    one = LOWEST(from);
    from = from & ~one;
    hand[w] = hand[w] | one;
    size++
}

/* The oldest that were given back, and with them what is fresh; nothing behind what another has. */
inline take(w, most) {
    limit = 0;
#ifndef MUTANT_NO_GAPS
    if
    :: back != 0 && hand[1 - w] > LOWEST(back) -> limit = LOWEST(hand[1 - w])
    :: else
    fi;
#endif
    size = 0;
    do
#ifdef MUTANT_GIVEN_BACK_FIRST
    :: size < most && fresh != 0 -> move(fresh)
    :: size < most && fresh == 0 && back != 0 -> move(back)
    :: size == most || (fresh == 0 && back == 0) -> break
#else
    :: size < most && back != 0 && (limit == 0 || LOWEST(back) < limit) -> move(back)
    :: size < most && limit == 0 && back == 0 && fresh != 0 -> move(fresh)
    :: else -> break
#endif
    od;
    printf("writer %d: takes %d\n", w, hand[w])
}

inline give_back(w) {
    printf("writer %d: gives %d back\n", w, hand[w]);
    back = back | hand[w];
    hand[w] = 0
}

proctype writer(byte w) {
    byte size, limit, part, one;
begin:
    do
    /* The first takes whatever has come. That in trouble one batch at a time is in hand spares
     * work in vain; nothing depends on it. */
    :: atomic { w == 0 && fresh + back != 0 -> take(w, MAX); break }
    :: atomic { w == 0 && fresh != 0 && back == 0 -> take(w, 1); break }
    /* The second takes a full batch while the first is at work. */
    :: atomic { w == 1 && hand[0] != 0 && (fresh & (fresh - 1)) != 0 -> take(w, MAX); break }
    :: atomic { rows == ALL && unacked == 0 -> goto done }
    od;

store:
    if
    :: atomic { hand[w] == 1 -> give_back(w); goto begin } /* refused alone */
    :: atomic { hand[w] != 1 -> skip }
    :: atomic { faults > 0 -> faults--; give_back(w); goto begin }
    fi;

    /* Its turn, within its transaction */
    if
#ifdef MUTANT_COMMITS_IN_ORDER
    :: true
#else
    :: atomic { OLDER(w) == 0 && (back & BELOW(LOWEST(hand[w]))) == 0 -> skip }
    :: atomic { OLDER(w) == 0 && (back & BELOW(LOWEST(hand[w]))) != 0 -> give_back(w); goto begin }
    :: atomic { OLDER(w) != 0 -> give_back(w); goto begin } /* late */
#endif
    fi;

    /* COMMIT: all of it, or a portion */
    if
    :: atomic { part = hand[w] }
    :: atomic { part = LOWEST(hand[w]) }
    :: atomic { faults > 0 -> faults--; give_back(w); goto begin }
    fi;
    atomic {
        no_double_count = no_double_count && (rows & part) == 0;
        assert(no_double_count);
        rows = rows | part;
#ifdef MUTANT_COMMITS_IN_ORDER
        skip /* this breaks, too, and first; the mutant is to show the loss */
#else
        no_double_count = no_double_count && unacked == 0;
        assert(no_double_count)
#endif
        unacked = unacked | part;
        printf("postgres: commits %d, rows are %d\n", part, rows)
    }

    /* stored: the acknowledgement goes out before anybody else has a turn */
    atomic {
        acked = acked | part;
        do
        :: (acked & (acked + 1)) != 0 -> acked = acked | ((acked + 1) & -(acked + 1))
        :: else -> break
        od;
        one = 0;
        printf("writer %d: acknowledges all up to %d\n", w, acked);
        no_loss = no_loss && (acked & ~rows) == 0;
        assert(no_loss);
        unacked = unacked & ~acked;
        hand[w] = hand[w] & ~part;
        if
        :: hand[w] != 0 -> goto store
        :: else -> goto begin
        fi
    }

done:
    ended++
}

init {
    atomic { run writer(0); run writer(1) }
}
