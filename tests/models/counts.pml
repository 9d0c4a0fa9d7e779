/* models/counts.pml: the counts of one object (lib/object/count.c, include/ouro/object.h): its owner, who counts plainly,
 * runs, blocks, goes, and comes again by its old number; two others count in the shared word.
 *
 * Properties  destroy once, when no reference is left; no look at the header after; the owner's count is touched by the
 *             number's one agent; all threads end, and then the object is dead, though the owner passed no safepoint since
 *             it blocked or went.
 * Left out    distributed and immortal objects; the ceiling; orders of memory (every step is sequentially consistent).
 * Variants    OWNER_LATE SPLIT_QUEUED NO_SECOND_HOLD NO_SECOND_LOOK MERGE_QUEUED ENTER_HELD
 */
#define OWNER 0
#define NOBODY 9

mtype = { RUNNING, BLOCKING, GONE };

/* The header. */
bool has_owner = true;
short own_count = 3;
short count = 0;
bool merged = false, queued = false;

/* The owner's number. */
mtype state = RUNNING;
bool held = false, request = false, queue_lock = false, in_queue = false;

/* What is known about it. */
byte refs[3] = { 1, 1, 1 };
byte destroyed = 0, holder = NOBODY;
#ifdef SMALL
byte takes = 0, gifts = 0;
#define LIVES 0
#else
byte takes = 1, gifts = 2;
#define LIVES 1
#endif
bool owner_done = false;

#define ALIVE assert(destroyed == 0)
#define IS_AGENT(me) \
    assert((me == OWNER && state == RUNNING && !held) || (held && holder == me))
#define SAME (count == c && merged == m && queued == q)

inline load_shared()
{
    atomic { ALIVE; c = count; m = merged; q = queued }
}

inline die()
{
    atomic { ALIVE; assert(refs[0] + refs[1] + refs[2] == 0); destroyed++ }
}

/* Sets dead. */
inline merge(me)
{
    atomic { ALIVE; IS_AGENT(me); l = own_count } /* count.merge.1 */
#ifndef OWNER_LATE
    atomic { ALIVE; own_count = 0 };
    atomic { ALIVE; has_owner = false } /* count.merge.2 */
#endif
    load_shared();
    do
    :: atomic { SAME -> ALIVE; count = c + l; merged = true; queued = false; assert(count >= 0); dead = (count == 0);
                break } /* count.merge.3 */
    :: atomic { !SAME -> ALIVE; c = count; m = merged; q = queued }
    od;
#ifdef OWNER_LATE
    atomic { ALIVE; own_count = 0; has_owner = false }
#endif
}

inline merge_queue(me)
{
    atomic { !queue_lock -> queue_lock = true }
    dead = false;
    if
    :: in_queue -> merge(me); in_queue = false
    :: else
    fi;
    queue_lock = false
}

/* Sets ok. */
inline hold(me)
{
    do
    :: atomic { !held -> st = state } /* count.hold.1 */
       if
       :: st == RUNNING -> ok = false; break
       :: else ->
          if
          :: atomic { state == st && !held -> held = true; holder = me; ok = true; break } /* count.hold.2 */
          :: atomic { !(state == st && !held) -> skip }
          fi
       fi
    od
}

inline release()
{
    atomic { held = false; holder = NOBODY }
}

inline deliver(me)
{
    atomic { ALIVE; assert(has_owner) }
    dead = false;
    hold(me); /* count.deliver.1 */
    if
    :: ok -> merge(me); release()
    :: else ->
       atomic { !queue_lock -> assert(!in_queue); in_queue = true } /* count.deliver.2 */
       request = true; /* count.deliver.3 */
#ifndef NO_SECOND_HOLD
       hold(me); /* count.deliver.4 */
       if
       :: ok -> merge_queue(me); release()
       :: else
       fi
#endif
    fi;
    if
    :: dead -> die()
    :: else
    fi
}

inline drop_shared(me)
{
    first = false;
    load_shared();
    do
    :: atomic { SAME ->
                ALIVE; assert(!(m && c <= 0));
                first = (!m && c <= 0 && !q);
                count = c - 1; refs[me]--;
#ifndef SPLIT_QUEUED
                queued = q || first;
#endif
                break } /* count.drop.1 */
    :: atomic { !SAME -> ALIVE; c = count; m = merged; q = queued }
    od;
    if
    :: first ->
#ifdef SPLIT_QUEUED
       atomic { ALIVE; queued = true };
#endif
       assert(me != OWNER);
       deliver(me) /* count.drop.2 */
    :: !first && m && c == 1 -> die() /* count.drop.3 */
    :: else
    fi
}

inline drop_own()
{
    atomic { ALIVE; IS_AGENT(OWNER); own_count--; refs[OWNER]--; zero = (own_count == 0) } /* count.own.1 */
    if
    :: zero ->
       load_shared(); /* count.own.2 */
       dead = false;
       if
       :: c == 0 && !m && !q -> dead = true
#ifdef MERGE_QUEUED
       :: !(c == 0 && !m && !q) -> merge(OWNER)
#else
       :: !(c == 0 && !m && !q) && !q -> merge(OWNER) /* count.own.3 */
       :: !(c == 0 && !m && !q) && q -> skip
#endif
       fi;
       if
       :: dead -> die()
       :: else
       fi
    :: else
    fi
}

inline drain()
{
    request = false; /* count.block.1 */
    merge_queue(OWNER);
    if
    :: dead -> die()
    :: else
    fi
}

inline enter(from)
{
#ifdef ENTER_HELD
    atomic { state == from -> state = RUNNING }
#else
    atomic { state == from && !held -> state = RUNNING } /* count.enter.1 */
#endif
}

inline block()
{
    do
    :: drain();
       if
       :: request -> skip
       :: else ->
          atomic { state = BLOCKING; assert(!held) } /* count.block.2 */
#ifdef NO_SECOND_LOOK
          break
#else
          if
          :: !request -> break /* count.block.3 */
          :: else -> enter(BLOCKING)
          fi
#endif
       fi
    od
}

proctype owner()
{
    short c, l; bool m, q, dead, zero, first, ok; mtype st; byte blocks = 1, lives = LIVES;
    do
    :: atomic { refs[OWNER] > 0 && has_owner -> skip } drop_own()
    :: atomic { refs[OWNER] > 0 && !has_owner -> skip } drop_shared(OWNER)
    :: request -> drain()
    :: blocks > 0 -> blocks--; block(); enter(BLOCKING)
    :: atomic { refs[OWNER] == 0 -> owner_done = true } break
    od;
    block();
    if
    :: skip
    :: lives > 0 -> lives--; atomic { !held -> state = GONE }
       if
       :: skip
       :: enter(GONE); block()
       fi
    fi
}

proctype other(byte me)
{
    short c, l; bool m, q, dead, first, ok; mtype st;
    do
    :: refs[me] > 0 -> drop_shared(me)
    :: atomic { refs[me] > 0 && takes > 0 -> ALIVE; takes--; count++; refs[me]++ } /* count.take.1 */
    :: atomic { refs[me] > 0 && gifts > 0 && !owner_done -> gifts--; refs[me]--; refs[OWNER]++ }
    :: refs[me] == 0 -> break
    od
}

init
{
    atomic { run owner(); run other(1); run other(2) }
    _nr_pr == 1;
    assert(destroyed == 1)
}
