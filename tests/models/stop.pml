/* models/stop.pml: stopping and starting the world (lib/world/stop.c, lib/world/world.c): a thread that stops it, and may
 * hold another as its agent; one that stops it too, after a blocking region or not; one that comes, passes a safepoint or
 * blocks, and goes.
 *
 * Properties  while the world is stopped nobody else is at work with objects, nobody comes, nobody has an agent; no wake-up
 *             is lost; all end.
 * Left out    the signal; fork; how long the next stopper waits for those it lets in (it may give up at any moment).
 * Variants    NO_REPORT SLEEP_LATE START_EARLY COME_FREELY ENTER_STOPPED LEAVE_SILENT LOOK_EARLY
 */
#define THREADS 3
#define NOBODY 9

mtype = { RUNNING, BLOCKING, STOPPED, GONE };
mtype = { NOWHERE, AT_STARTS, AT_TURN, AT_PENDING, AT_SLEEPERS };

mtype state[THREADS];
bool asked[THREADS], held[THREADS], request[THREADS], inside[THREADS];
mtype waits[THREADS];
byte starts = 0, sleepers = 0, turn_next = 0, turn_now = 0, pending = 0;
bool letting_in = false, registry = false, world = false;
byte stopper = NOBODY;

#define OTHERS_REST(t) \
    ((t == 0 || !inside[0]) && (t == 1 || !inside[1]) && (t == 2 || !inside[2]) && !held[0] && !held[1] && !held[2])

/* The kernel's part: sleeps if the word still has the value that was seen. */
inline futex_wait(t, place, same)
{
    atomic {
        if
        :: same -> waits[t] = place
        :: else
        fi
    }
    waits[t] == NOWHERE
}

inline futex_wake(place)
{
    d_step {
        if
        :: waits[0] == place -> waits[0] = NOWHERE
        :: else
        fi;
        if
        :: waits[1] == place -> waits[1] = NOWHERE
        :: else
        fi;
        if
        :: waits[2] == place -> waits[2] = NOWHERE
        :: else
        fi
    }
}

/* What a running thread does with objects. */
inline work(t)
{
    atomic { assert(state[t] == RUNNING && (stopper == NOBODY || stopper == t)); inside[t] = true }
    inside[t] = false
}

inline leave(t)
{
    if
#ifdef LEAVE_SILENT
    :: state[t] = BLOCKING
#endif
    :: atomic { !asked[t] -> assert(state[t] == RUNNING); state[t] = BLOCKING } /* stop.leave.1 */
    :: atomic { asked[t] -> asked[t] = false; state[t] = STOPPED } /* stop.leave.2 */
       atomic { pending--; last = (pending == 0) } /* stop.report.1 */
#ifndef NO_REPORT
       if
       :: last -> futex_wake(AT_PENDING)
       :: else
       fi
#endif
    fi
}

inline enter(t)
{
    slept = false;
    do
    :: atomic { state[t] == BLOCKING && !held[t] -> state[t] = RUNNING; break } /* stop.enter.1 */
#ifdef ENTER_STOPPED
    :: atomic { state[t] == STOPPED -> state[t] = RUNNING; break }
#else
    :: state[t] == STOPPED ->
       if
       :: !slept -> slept = true; sleepers++ /* stop.enter.2 */
       :: else
       fi;
       do
#ifdef SLEEP_LATE
       :: if
          :: state[t] != STOPPED -> break
          :: else
          fi;
          seen = starts;
#else
       :: seen = starts; /* stop.sleep.1 */
          if
          :: state[t] != STOPPED -> break /* stop.sleep.2 */
          :: else
          fi;
#endif
          futex_wait(t, AT_STARTS, starts == seen) /* stop.sleep.3 */
       od
#endif
    od;
    if
    :: slept -> sleep_end()
    :: else
    fi
}

inline sleep_end()
{
    atomic { sleepers--; last = (sleepers == 0) }
    if
    :: last && letting_in -> futex_wake(AT_SLEEPERS) /* stop.let-in.1 */
    :: else
    fi
}

/* Of a thread that is not running. */
inline acquire_registry()
{
    if
    :: atomic { !registry -> registry = true }
    :: registry -> sleepers++; atomic { !registry -> registry = true } sleep_end()
    fi
}

inline come(t)
{
#ifndef COME_FREELY
    acquire_registry(); /* stop.come.1 */
#endif
    atomic { !held[t] -> assert(state[t] == GONE); state[t] = RUNNING }
#ifndef COME_FREELY
    registry = false
#endif
}

inline go(t)
{
    leave(t);
    acquire_registry(); /* stop.go.1 */
    atomic { !held[t] -> assert(state[t] == BLOCKING); state[t] = GONE }
    registry = false
}

inline safepoint(t)
{
    if
    :: asked[t] -> leave(t); enter(t)
    :: else
    fi
}

inline hold_and_release(t)
{
    if
    :: atomic { (state[t] == BLOCKING || state[t] == GONE) && !held[t] -> held[t] = true };
       assert(stopper == NOBODY);
       held[t] = false
    :: else
    fi
}

inline ask(t, o)
{
    do
    :: atomic { state[o] == GONE && !held[o] -> break }
    :: atomic { state[o] == BLOCKING && !held[o] -> state[o] = STOPPED; break } /* stop.ask.1 */
    :: state[o] == RUNNING ->
       pending++; /* stop.ask.2 */
       if
       :: atomic { state[o] == RUNNING -> asked[o] = true } /* stop.ask.3 */ request[o] = true; break
       :: else -> pending--
       fi
    od
}

inline let_in(t)
{
    if
    :: sleepers == 0
    :: else ->
       letting_in = true;
       do
       :: seen = sleepers;
          if
          :: seen == 0 -> break
          :: skip -> break /* the time is over */
          :: seen != 0 ->
             atomic {
                 if
                 :: sleepers == seen -> waits[t] = AT_SLEEPERS
                 :: else
                 fi
             }
             if
             :: waits[t] == NOWHERE
             :: waits[t] = NOWHERE /* the time is over */
             fi
          fi
       od;
       letting_in = false
    fi
}

inline stop(t)
{
    atomic { ticket = turn_next; turn_next++ } /* stop.turn.1 */
    leave(t);
    do
    :: seen = turn_now;
       if
       :: seen == ticket -> break
       :: else -> futex_wait(t, AT_TURN, turn_now == seen)
       fi
    od; /* stop.turn.2 */
    atomic { !world -> world = true }
    let_in(t);
    atomic { !registry -> registry = true } /* stop.stop.1 */
    ask(t, (t + 1) % THREADS);
    ask(t, (t + 2) % THREADS);
    do
    :: seen = pending;
       if
       :: seen == 0 -> break
       :: else -> futex_wait(t, AT_PENDING, pending == seen)
       fi
    od; /* stop.stop.2 */
    enter(t);
    atomic { assert(stopper == NOBODY); stopper = t; assert(OTHERS_REST(t)) }
}

inline let_go(o)
{
    request[o] = false;
    atomic { /* one load and store: nobody else changes it now; stop.start.1 below */
        if
        :: state[o] == STOPPED -> state[o] = BLOCKING
        :: else -> assert(state[o] == GONE)
        fi
    }
}

inline wake_starters()
{
    starts++; /* stop.start.2 */
    if
    :: sleepers != 0 -> futex_wake(AT_STARTS) /* stop.start.3 */
    :: else
    fi
}

inline give_turn()
{
    world = false;
#ifdef LOOK_EARLY
    last = (turn_next == turn_now + 1);
    turn_now++;
    if
    :: !last -> futex_wake(AT_TURN)
    :: else
    fi
#else
    atomic { turn_now++; seen = turn_now } /* stop.turn.3 */
    if
    :: turn_next != seen -> futex_wake(AT_TURN)
    :: else
    fi
#endif
}

inline start(t)
{
    atomic { assert(stopper == t && OTHERS_REST(t)); stopper = NOBODY }
#ifdef START_EARLY
    wake_starters();
#endif
    let_go((t + 1) % THREADS); /* stop.start.1 */
    let_go((t + 2) % THREADS);
    registry = false;
#ifndef START_EARLY
    wake_starters();
#endif
    give_turn()
}

proctype first()
{
    bool last, slept; byte seen, ticket;
    work(0);
    hold_and_release(2);
    stop(0);
    start(0);
    work(0);
    leave(0)
}

proctype second()
{
    bool last, slept; byte seen, ticket;
#ifndef SMALL
    if
    :: leave(1); enter(1)
    :: skip
    fi;
#endif
    stop(1);
    start(1);
    leave(1)
}

proctype third()
{
    bool last, slept; byte seen;
    come(2);
    work(2);
    if
    :: safepoint(2)
    :: leave(2); enter(2)
    fi;
    work(2);
    go(2)
}

init
{
    atomic {
        state[0] = RUNNING; state[1] = RUNNING; state[2] = GONE;
        waits[0] = NOWHERE; waits[1] = NOWHERE; waits[2] = NOWHERE;
        run first(); run second(); run third()
    }
    _nr_pr == 1;
    assert(stopper == NOBODY && pending == 0 && sleepers == 0)
}
