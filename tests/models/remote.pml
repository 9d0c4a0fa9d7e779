/* models/remote.pml: a pool of three blocks whose owner lets go of it (lib/pool/pool.c, lib/pool/shelf.c): two others free
 * a block each in a batch; the last owner frees the third, or takes the pool back to do so, uses a block, and ends; a
 * fourth thread adopts pools from the shelf.
 *
 * Properties  no block is in two lists or in use while it is in one; nobody looks at the remote word of a pool that was
 *             released; a pool is released when every block is free and it is on no shelf, once, and in the end it is.
 * Left out    orders of memory; carving; the owner of the slices, which is a hint.
 * Variants    FORGET_NOT LIST_FREELY DISOWN_PLAIN LAST_UNSEEN TAKE_TWICE
 */
#define BLOCKS 3
#define ALL 7 /* a set of blocks, a bit each */
#define LIST_USED 2
#define NOBODY 9

/* The remote word. */
bool owned = true, listed = false;
byte list = 0, count = 0;

/* The owner's. */
byte owner = 0, free = 0;

/* The shelf. */
bool shelf_lock = false, linked = false;

bool released = false;
byte in_use = ALL; /* by the program, or in a batch under way */

#define SIZE(set) ((set & 1) + ((set >> 1) & 1) + ((set >> 2) & 1))
#define ALIVE assert(!released)
#define SAME (owned == w_owned && listed == w_listed && list == w_list && count == w_count)

inline look()
{
    ALIVE; w_owned = owned; w_listed = listed; w_list = list; w_count = count
}

inline set_word(o, l, s, c)
{
    ALIVE; owned = o; listed = l; list = s; count = c
}

/* Blocks come into the owner's list. */
inline accept(me, set)
{
    atomic { assert(owner == me && (free & set) == 0 && (in_use & set) == 0); free = free | set }
}

inline release(me)
{
    atomic {
        assert(owner == me && owned && !released && !linked);
        assert(free == ALL || in_use == 0);
        released = true;
        owner = NOBODY
    }
}

inline lock_shelf()
{
    atomic { !shelf_lock -> shelf_lock = true }
}

inline forget()
{
    lock_shelf(); /* remote.forget.1 */
    linked = false;
    shelf_lock = false
}

/* By the owner. */
inline collect(me)
{
    if
    :: list == 0
    :: list != 0 ->
#ifdef TAKE_TWICE
       atomic { look() }
       accept(me, w_list);
       atomic { set_word(true, false, 0, 0) };
#else
       atomic { look(); assert(owned); set_word(true, false, 0, 0) } /* remote.collect.1 */
       accept(me, w_list)
#endif
    fi
}

/* By the owner, who is it no more after. */
inline disown(me)
{
    do
    :: collect(me);
       used = BLOCKS - SIZE(free);
       if
       :: used == 0 -> release(me); break
       :: else ->
          is_listing = (used <= LIST_USED);
          if
          :: is_listing -> lock_shelf() /* remote.disown.1 */
          :: else
          fi;
#ifdef DISOWN_PLAIN
          atomic { owner = NOBODY; set_word(false, is_listing, 0, used); done = true }
#else
          if
          :: atomic { owned && !listed && list == 0 -> owner = NOBODY; set_word(false, is_listing, 0, used); done = true } /* remote.disown.2 */
          :: atomic { list != 0 -> ALIVE; done = false }
          fi;
#endif
          if
          :: is_listing && done -> atomic { assert(!linked); linked = true; shelf_lock = false } /* remote.disown.3 */
          :: is_listing && !done -> shelf_lock = false
          :: else
          fi;
          if
          :: done -> break
          :: else
          fi
       fi
    od
}

/* Sets done: the caller owns it. */
inline swap_owner(me)
{
    atomic { look() }
    do
    :: w_owned -> done = false; break
    :: atomic { !w_owned && SAME -> set_word(true, false, 0, 0); assert(owner == NOBODY); owner = me; done = true; break } /* remote.own.1 */
    :: atomic { !w_owned && !SAME -> look() }
    od
}

inline claim(me)
{
    swap_owner(me);
    if
    :: done ->
#ifndef FORGET_NOT
       if
       :: w_listed -> forget() /* remote.claim.1 */
       :: else
       fi;
#endif
       accept(me, w_list)
    :: else
    fi
}

inline push(me, set)
{
    has_shelf = false;
    atomic { look(); in_use = in_use & ~set }
    do
    :: sum = (w_owned -> w_count + SIZE(set) : w_count - SIZE(set));
       is_last = (!w_owned && sum == 0);
#ifdef LAST_UNSEEN
       is_last = false;
#endif
       is_listing = (!w_owned && !is_last && !w_listed && sum <= LIST_USED);
#ifndef LIST_FREELY
       if
       :: is_listing && !has_shelf -> lock_shelf(); has_shelf = true /* remote.push.1 */
       :: else
       fi;
#endif
       if
       :: atomic { SAME -> assert((w_list & set) == 0);
                   if
                   :: is_last -> set_word(true, false, 0, 0); assert(owner == NOBODY); owner = me
                   :: else -> set_word(w_owned, w_listed || is_listing, w_list | set, sum)
                   fi } /* remote.push.2 */
          break
       :: atomic { !SAME -> look() }
       fi
    od;
    if
    :: has_shelf && is_listing -> atomic { assert(!linked); linked = true; shelf_lock = false } /* remote.push.3 */
    :: has_shelf && !is_listing -> shelf_lock = false
#ifdef LIST_FREELY
    :: !has_shelf && is_listing -> atomic { assert(!linked); linked = true }
#endif
    :: !has_shelf && !is_listing
    fi;
    if
    :: is_last -> /* bury */
       if
       :: w_listed -> forget() /* remote.push.4 */
       :: else
       fi;
       release(me)
    :: else
    fi
}

/* A free by a thread that may be the last owner. */
inline free_block(me, block)
{
    claim(me); /* remote.home.1 */
    if
    :: done -> atomic { in_use = in_use & ~block } accept(me, block); disown(me)
    :: else -> push(me, block)
    fi
}

#define WORD bool w_owned, w_listed; byte w_list, w_count, used, sum; bool is_listing, done, has_shelf, is_last

proctype home()
{
    WORD;
    disown(0);
    if
    :: free_block(0, 1)
    :: push(0, 1)
    fi
}

proctype other(byte me; byte block)
{
    WORD;
    push(me, block)
}

/* Needs a block, once or not at all: takes the pool from the shelf, and gives it up again. */
proctype adopter()
{
    WORD; byte block = 0, tries = 2;
    do
    :: tries > 0 ->
       tries--;
       done = false;
       lock_shelf(); /* remote.adopt.1 */
       if
       :: linked -> linked = false; swap_owner(3) /* remote.adopt.2 */
       :: else
       fi;
       shelf_lock = false;
       if
       :: done ->
          accept(3, w_list);
          /* a block, and back */
          if
          :: (free & 1) != 0 -> block = 1
          :: (free & 2) != 0 -> block = 2
          :: (free & 4) != 0 -> block = 4
          :: skip
          fi;
          if
          :: block != 0 -> atomic { assert((in_use & block) == 0); free = free & ~block; in_use = in_use | block }
          :: else
          fi;
          disown(3);
          if
          :: block != 0 -> push(3, block); block = 0
          :: else
          fi
       :: else
       fi
    :: break
    od
}

init
{
    atomic {
        run home(); run other(1, 2);
#ifndef SMALL
        run other(2, 4);
#else
        in_use = 3; free = 4;
#endif
        run adopter()
    }
    _nr_pr == 1;
    assert(released && !linked)
}
