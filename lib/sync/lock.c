/* sync/lock.c: see sync.h. */
#include "sync/sync.h"

#include "os/os.h"

enum { SPINS = 100 };

static __thread uint32_t held_ranks; /* a bit a rank; debug builds */
static __thread bool all_held;       /* in fork's handlers */
__thread uint32_t ouroi_locks_held __attribute__((tls_model("initial-exec")));

static void note_acquired(const struct ouroi_lock *lock)
{
    if (!OURO_DROPIN)
        ouroi_locks_held++;
    if (!OURO_DEBUG)
        return;
    OURO_ASSERT(lock->rank < OUROI_RANKS);
    OURO_ASSERT((held_ranks >> lock->rank) == 0);
    held_ranks |= 1u << lock->rank;
}

bool ouroi_lock_try(struct ouroi_lock *lock)
{
    uint32_t free_word = 0;
    /* [LOCK take] acquire, pairs with [LOCK give]: what the last holder wrote */
    if (!ouroi_atomic_cas_acquire(&lock->word, &free_word, 1))
        return false;
    note_acquired(lock);
    return true;
}

static OUROI_COLD void acquire_slow(struct ouroi_lock *lock)
{
    for (unsigned spin = 0; ouroi_machine.cpus > 1 && spin < SPINS; spin++) {
        /* relaxed: a look before the try, which decides */
        if (ouroi_atomic_load_relaxed(&lock->word) == 0 && ouroi_lock_try(lock))
            return;
        ouroi_pause();
    }
    /* [LOCK take] acquire, pairs with [LOCK give] */
    while (ouroi_atomic_exchange_acquire(&lock->word, 2) != 0)
        ouroi_os.futex_wait(&lock->word, 2, 0);
    note_acquired(lock);
}

void ouroi_lock_acquire(struct ouroi_lock *lock)
{
    if (OUROI_UNLIKELY(all_held) || OUROI_LIKELY(ouroi_lock_try(lock)))
        return;
    acquire_slow(lock);
}

void ouroi_lock_all_held(bool held)
{
    all_held = held;
}

void ouroi_lock_acquire_again(struct ouroi_lock *lock)
{
    if (OURO_DEBUG)
        held_ranks &= ~(1u << lock->rank);
    ouroi_lock_acquire(lock);
}

static void note_released(const struct ouroi_lock *lock)
{
    if (!OURO_DROPIN)
        ouroi_locks_held--;
    if (OURO_DEBUG)
        held_ranks &= ~(1u << lock->rank);
}

void ouroi_lock_release(struct ouroi_lock *lock)
{
    if (OUROI_UNLIKELY(all_held))
        return;
    note_released(lock);
    /* [LOCK give] release, pairs with [LOCK take]: what this holder wrote */
    if (ouroi_atomic_exchange_release(&lock->word, 0) == 2)
        ouroi_os.futex_wake(&lock->word, 1);
}

void ouroi_lock_reset(struct ouroi_lock *lock)
{
    if (OURO_DEBUG)
        held_ranks &= ~(1u << lock->rank);
    /* [LOCK give] release: the child has one thread */
    ouroi_atomic_store_release(&lock->word, 0);
}
