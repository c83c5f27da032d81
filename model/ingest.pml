/* From the queue to the rows: services/ingest/{receiver,writer,service,store}.py.
 *
 * Two ingests share a queue of three messages, of which one was published twice (its producer lost
 * a confirm). The broker delivers at least once. A batch is one transaction; the acknowledgement
 * follows its commit. An identity is a unique key, so an insert waits for whoever inserts the same.
 *
 * Faults: an ingest dies at any step, a channel is lost, a connection to Postgres is lost before or
 * after the COMMIT took effect, or with the COMMIT still on its way.
 *
 * Sets are bit masks: deliveries 0 to 3, identities 0 to 2; deliveries 0 and 3 are of one message.
 */

#ifndef FAULTS
#define FAULTS 2
#endif

#define EVERY_DELIVERY 15
#define EVERY_IDENTITY 7
#define IDENTITIES(deliveries) (((deliveries) & 7) | ((deliveries) >> 3))

bool no_loss = true;
bool no_double_count = true;

byte ready = EVERY_DELIVERY; /* in the queue */
byte unacked[2];             /* delivered over an ingest's channel; the broker's again if it is lost */
bool gone[2];                /* the channel that delivered its batch is lost */
byte rows;                   /* identities committed */
byte mine[2];                /* identities that an open transaction inserted */
byte adrift;                 /* the same of a transaction whose client is gone: it may still commit */
byte faults = FAULTS;
bool calm;                   /* no fault comes any more */
byte ended;

#define OTHERS(w) (mine[1 - w] | adrift)

/* ON CONFLICT (message_id) DO NOTHING: waits for whoever inserts the same, then does nothing. */
#ifdef MUTANT_IDENTITY
#define FREE(w, one) (left & one)
#define insert(w, one) mine[w] = mine[w] | one; left = left & ~one
#else
#define FREE(w, one) ((left & one) && !(OTHERS(w) & one))
#define insert(w, one) mine[w] = mine[w] | (one & ~rows); left = left & ~one
#endif

inline commit(identities) {
    no_double_count = no_double_count && (rows & (identities)) == 0;
    assert(no_double_count);
    printf("postgres: commits identities %d, rows are %d\n", identities, rows | (identities));
    rows = rows | (identities);
    identities = 0
}

inline deliver_again(w) {
    printf("rabbitmq: will deliver %d again\n", unacked[w]);
    ready = ready | unacked[w];
    unacked[w] = 0
}

/* Whatever the open transaction did is undone, unless its COMMIT is already on its way. */
inline cut_off(w) {
    if
    :: true -> mine[w] = 0
    :: mine[w] != 0 && adrift == 0 -> adrift = mine[w]; mine[w] = 0
    fi
}

proctype ingest(byte w) {
    byte batch, left;
begin:
    do
    /* Prefetch: deliveries come one by one, whatever the writer does. */
    :: atomic { ready & 1 -> ready = ready - 1; unacked[w] = unacked[w] | 1 }
    :: atomic { ready & 2 -> ready = ready - 2; unacked[w] = unacked[w] | 2 }
    :: atomic { ready & 4 -> ready = ready - 4; unacked[w] = unacked[w] | 4 }
    :: atomic { ready & 8 -> ready = ready - 8; unacked[w] = unacked[w] | 8 }
    :: atomic {
           unacked[w] != 0 ->
           batch = unacked[w];
           printf("ingest %d: takes %d\n", w, batch);
           gone[w] = false;
#ifdef MUTANT_ACK_AFTER_COMMIT
           unacked[w] = 0; printf("ingest %d: acknowledges it\n", w);
#endif
           goto store
       }
    :: atomic { calm && ready == 0 && unacked[0] == 0 && unacked[1] == 0 && adrift == 0 -> break }
    :: atomic { faults > 0 -> faults--; deliver_again(w) }
    od;
    goto done;

store: /* BEGIN; also where a batch is tried again over a new connection */
    atomic { left = IDENTITIES(batch) };
    do
    :: atomic { FREE(w, 1) -> insert(w, 1) }
    :: atomic { FREE(w, 2) -> insert(w, 2) }
    :: atomic { FREE(w, 4) -> insert(w, 4) }
    /* A deadlock, or the lock timeout: rolled back and tried again. */
    :: atomic { left != 0 && (left & ~OTHERS(w)) == 0 -> mine[w] = 0; goto store }
    :: atomic { left == 0 && gone[w] -> mine[w] = 0; goto finished } /* the last look */
    :: atomic { left == 0 && !gone[w] -> break }
    :: atomic { faults > 0 -> faults--; cut_off(w); goto store }
    :: atomic { faults > 0 -> faults--; cut_off(w); deliver_again(w); goto finished }
    od;

    /* COMMIT is sent */
    if
    :: atomic { commit(mine[w]) }
    :: atomic { faults > 0 -> faults--; commit(mine[w]); goto store } /* its answer is lost */
    :: atomic { faults > 0 -> faults--; cut_off(w); goto store }
    :: atomic { faults > 0 -> faults--; cut_off(w); deliver_again(w); goto finished }
    fi;

    if
    :: atomic { gone[w] -> skip } /* an acknowledgement on a lost channel reaches nobody */
    :: atomic { !gone[w] ->
           unacked[w] = unacked[w] & ~batch;
           printf("ingest %d: acknowledges %d\n", w, batch)
       }
    :: atomic { faults > 0 -> faults--; deliver_again(w) } /* killed between commit and ack */
    fi;
finished:
    atomic { batch = 0; left = 0; gone[w] = false; goto begin }

done:
    atomic {
        ended++;
        if
        :: ended == 2 ->
           printf("all is quiet; rows are %d\n", rows);
           no_loss = rows == EVERY_IDENTITY;
           assert(no_loss)
        :: else
        fi
    }
}

proctype environment() {
end:
    do
    :: atomic { faults > 0 && !calm && unacked[0] != 0 -> faults--; deliver_again(0); gone[0] = true }
    :: atomic { faults > 0 && !calm && unacked[1] != 0 -> faults--; deliver_again(1); gone[1] = true }
    :: atomic { adrift != 0 -> commit(adrift) }
    :: atomic { adrift != 0 -> adrift = 0 }
    :: atomic { !calm -> calm = true; faults = 0 }
    od
}

init {
    atomic { run ingest(0); run ingest(1); run environment() }
}
