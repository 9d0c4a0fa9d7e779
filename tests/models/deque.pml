/* models/deque.pml: the work-stealing deque (lib/gc/deque.h): its owner gives and takes at the bottom, two thieves take at
 * the top.
 *
 * Properties  each item is got by one thread, once; none is lost; all end.
 * Left out    orders of memory but one: where bottom is lowered, the store may be late for others (LOWER_LATE: a store
 *             buffer of one entry, as x86 has), which must be found: so it has to be sequentially consistent.
 * Variants    NO_LAST STEAL_BLINDLY REFILL_EARLY LOWER_LATE
 */
#ifdef SMALL
#define ITEMS 2
#else
#define ITEMS 4
#endif
#define ROOM 2
#define NONE 0

byte top = 0, bottom = 0, items[ROOM];
byte got[ITEMS + 1]; /* times that an item was got; 0 is none */
bool done = false;

/* The owner's bottom, which others see when it has left the buffer. */
byte buffered = 0;
bool is_buffered = false;

inline get(item)
{
    atomic { assert(item != NONE && got[item] == 0); got[item]++; item = NONE }
}

#define DRAINED (!is_buffered)

inline take()
{
    if
    :: b == top /* deque.take.1 */
    :: b != top ->
       b--;
#ifdef LOWER_LATE
       atomic { DRAINED -> buffered = b; is_buffered = true };
#else
       atomic { DRAINED -> bottom = b } /* deque.take.2 */
#endif
       t = top; /* deque.take.3 */
       if
       :: b >= t ->
          item = items[b % ROOM];
          if
          :: b != t -> get(item)
          :: b == t ->
#ifdef NO_LAST
             top = t + 1;
             get(item);
#else
             if
             :: atomic { top == t -> top = t + 1 } /* deque.take.4 */ get(item)
             :: else -> item = NONE
             fi;
#endif
             b++;
             atomic { DRAINED -> bottom = b }
          fi
       :: b < t ->
          b++;
          atomic { DRAINED -> bottom = b }
       fi
    fi
}

proctype owner()
{
    byte next = 1, item = NONE, t, b = 0; /* b: bottom, which only the owner changes */
    bool is_full;
    do
    :: next <= ITEMS ->
       /* give */
#ifdef REFILL_EARLY
       is_full = false;
#else
       is_full = (b - top == ROOM); /* deque.give.1 */
#endif
       if
       :: !is_full ->
          items[b % ROOM] = next;
          b++;
          atomic { DRAINED -> bottom = b } /* deque.give.2 */
          next++
       :: else -> take()
       fi
    :: b != top -> take()
    :: next > ITEMS && b == top -> break
    od;
    done = true
}

/* Writes the owner's store out at any time. */
proctype buffer()
{
    do
    :: atomic { is_buffered -> bottom = buffered; is_buffered = false }
    :: atomic { done && !is_buffered -> break }
    od
}

proctype thief()
{
    byte t, b, item = NONE;
    do
    :: done -> break
    :: top != bottom ->
       t = top; /* deque.steal.1 */
       b = bottom; /* deque.steal.2 */
       if
       :: b > t ->
          item = items[t % ROOM];
#ifdef STEAL_BLINDLY
          top = t + 1;
          get(item)
#else
          if
          :: atomic { top == t -> top = t + 1 } /* deque.steal.3 */ get(item)
          :: else -> item = NONE
          fi
#endif
       :: else
       fi
    od
}

init
{
    atomic { run owner(); run buffer(); run thief(); run thief() }
    _nr_pr == 1;
    byte i;
    for (i : 1 .. ITEMS) {
        assert(got[i] == 1)
    }
}
