/* models/grace.pml: memory that readers of a slot may still look at (lib/object/slot.c, lib/object/death.c, grace periods in
 * lib/world/world.c): a writer takes the object out of the slot, drops it, and frees its memory after a grace period; one
 * reader passes safepoints and blocks; another comes while all this goes on, and may be stopped by the signal anywhere.
 *
 * Properties  no reader looks at freed memory; nobody takes a reference of a dead object; the memory is freed in the end.
 * Variants    BEGIN_EARLY NO_JOIN CUT_PASSES NOTE_LATE TAKE_DEAD PASS_RUNNING
 */
mtype = { RUNNING, BLOCKING, STOPPED, GONE };

mtype state[2];
bool by_signal[2], listed[2], request[2];
byte grace[2], epoch = 1;

bool in_slot = true;
byte count = 1;
bool dead = false, freed = false;

#define LOOK assert(!freed)

inline note(t)
{
#ifdef NOTE_LATE
    atomic { e = epoch + 1 }
#else
    e = epoch; /* grace.note.1 */
#endif
    grace[t] = e /* grace.note.2 */
}

inline enter(t)
{
    state[t] = RUNNING;
    note(t)
}

inline safepoint(t)
{
    request[t] = false;
    note(t)
}

/* Loads the slot and takes a reference, which it drops. */
inline load(t)
{
    do
    :: found = in_slot; /* grace.load.1 */
       if
       :: !found -> break
       :: else ->
          atomic { LOOK; seen = count } /* grace.load.2 */
          do
#ifndef TAKE_DEAD
          :: seen == 0 -> break
#endif
#ifdef TAKE_DEAD
          :: atomic { count == seen -> LOOK; assert(!dead); count++ }
#else
          :: atomic { seen != 0 && count == seen -> LOOK; assert(!dead); count++ } /* grace.load.3 */
#endif
             drop();
             goto_done = true;
             break
          :: atomic { count != seen -> LOOK; seen = count }
          od;
          if
          :: goto_done -> goto_done = false; break
          :: else
          fi
       fi
    od
}

inline drop()
{
    atomic { LOOK; count--; last = (count == 0); if :: last -> assert(!dead); dead = true :: else fi }
}

proctype reader()
{
    bool found, goto_done, last; byte e, seen, turns = 2;
    do
    :: turns > 0 -> turns--; load(0); safepoint(0)
    :: turns > 0 -> turns--; load(0); note(0); state[0] = BLOCKING; enter(0)
    :: turns == 0 -> break
    od;
    state[0] = BLOCKING
}

/* It joins before it looks, and is seen by who begins a grace period after. */
proctype newcomer() provided (!by_signal[1])
{
    bool found, goto_done, last; byte e, seen;
#ifndef NO_JOIN
    enter(1);
    listed[1] = true; /* grace.join.1 */
    note(1); /* grace.join.2 */
#endif
    load(1);
    state[1] = BLOCKING
}

/* The signal stops it between any two of its steps; it goes on later. */
proctype signal()
{
    if
    :: atomic { state[1] == RUNNING -> by_signal[1] = true; state[1] = STOPPED }
       atomic { state[1] = RUNNING; by_signal[1] = false }
    :: skip
    fi
}

#define IS_LATE(t, until) (listed[t] && grace[t] < until)

inline passed(t)
{
    if
    :: !listed[t]
    :: else ->
       s = state[t]; /* grace.pass.1 */
#ifdef CUT_PASSES
       if
       :: s == STOPPED && !by_signal[t] -> s = BLOCKING
       :: else
       fi;
#endif
#ifdef PASS_RUNNING
       s = BLOCKING;
#endif
       if
       :: (s == RUNNING || s == STOPPED) && grace[t] < until -> all_passed = false /* grace.pass.2 */
       :: else
       fi
    fi
}

inline begin()
{
    atomic { epoch++; until = epoch } /* grace.begin.1 */
    if
    :: listed[0] && state[0] == RUNNING -> request[0] = true /* grace.begin.2 */
    :: else
    fi;
    if
    :: listed[1] && state[1] == RUNNING -> request[1] = true
    :: else
    fi
}

proctype writer()
{
    bool last, all_passed; byte until; mtype s;
#ifdef BEGIN_EARLY
    begin();
#endif
    in_slot = false; /* grace.unlink.1 */
    drop();
    dead; /* by whoever dropped the last reference; its limbo is looked after by that thread, here as well as there */
#ifndef BEGIN_EARLY
    begin();
#endif
    do
    :: all_passed = true;
       passed(0);
       passed(1);
       if
       :: all_passed -> break
       :: else
       fi
    od;
    freed = true /* grace.free.1 */
}

init
{
    atomic {
        state[0] = RUNNING; state[1] = GONE;
        listed[0] = true;
        grace[0] = 1;
        run reader(); run newcomer(); run signal(); run writer()
    }
    _nr_pr == 1;
    assert(freed)
}
