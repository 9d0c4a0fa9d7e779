/* stress/slots.c: slots under contention. Every object knows its number; readers check that what they got lives. A writer of
 * a slot raises the number it finds there, so that the numbers a reader sees in one slot never fall. */
#define _GNU_SOURCE
#include "stress.h"

#include <sched.h>
#include <stdlib.h>

enum { SLOTS = 4 };
#define LIVES UINT64_C(0x6f75726f736c6f74)

struct ticket {
    ouro_object base;
    uint64_t magic;
    uint64_t number;
    struct ticket *before; /* sometimes: what was there */
};

static ouro_slot free_slots[SLOTS];    /* stored, exchanged, emptied */
static ouro_slot ordered_slots[SLOTS]; /* changed by compare_exchange only, upwards */
static _Atomic uint64_t made, died;

static void ticket_destroy(ouro_object *self)
{
    struct ticket *ticket = (struct ticket *)self;
    CHECK(ticket->magic == LIVES);
    ticket->magic = 0;
    atomic_fetch_add_explicit(&died, 1, memory_order_relaxed);
}
static ouro_type plain_type = OURO_TYPE(struct ticket, .destroy = ticket_destroy);
static ouro_type linked_type = OURO_TYPE(struct ticket, OURO_REFS(struct ticket, before), .destroy = ticket_destroy);

static struct ticket *ticket_new(ouro_type *type, uint64_t number)
{
    struct ticket *ticket = ouro_new(type);
    CHECK(ticket != NULL);
    ticket->magic = LIVES;
    ticket->number = number;
    atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
    return ticket;
}

static void look(ouro_slot *slot, uint64_t *last)
{
    struct ticket *ticket = ouro_slot_load(slot);
    if (ticket == NULL)
        return;
    CHECK(ticket->magic == LIVES);
    if (last != NULL) {
        CHECK(ticket->number >= *last);
        *last = ticket->number;
    }
    if (ticket->before != NULL)
        CHECK(ticket->before->magic == LIVES);
    ouro_decref(ticket);
}

static void raise_number(ouro_slot *slot, uint64_t *last)
{
    struct ticket *old = ouro_slot_load(slot);
    struct ticket *next = ticket_new(&plain_type, old != NULL ? old->number + 1 : 1);
    if (ouro_slot_compare_exchange(slot, old, next))
        *last = next->number;
    CHECK(old == NULL || old->magic == LIVES);
    ouro_xdecref(old);
    ouro_decref(next);
}

static void change_freely(ouro_slot *slot, struct random *random)
{
    struct ticket *next = ticket_new(random_below(random, 2) == 0 ? &plain_type : &linked_type, random_next(random)),
                  *old;
    switch (random_below(random, 6)) {
    case 0:
        ouro_slot_store(slot, NULL);
        break;
    case 1:
        old = ouro_slot_exchange(slot, NULL);
        CHECK(old == NULL || old->magic == LIVES);
        ouro_xdecref(old);
        break;
    case 2:
        if (ouro_typeof(next) == &linked_type) { /* one deep */
            next->before = ouro_slot_load(&ordered_slots[random_below(random, SLOTS)]);
            old = ouro_slot_exchange(slot, ouro_newref(next));
            ouro_xdecref(old);
        }
        break;
    case 3:
        old = ouro_slot_load(slot);
        ouro_slot_compare_exchange(slot, old, next);
        ouro_xdecref(old);
        break;
    default:
        ouro_slot_store(slot, next);
    }
    CHECK(next->magic == LIVES);
    ouro_decref(next);
}

static void work(unsigned index)
{
    struct random random = random_seed(index);
    uint64_t last[SLOTS] = { 0 };
    while (!atomic_load_explicit(&run.stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < 200; i++) {
            uint32_t which = random_below(&random, SLOTS), what = random_below(&random, 100);
            if (what < (index % 3 == 0 ? 30 : 3))
                raise_number(&ordered_slots[which], &last[which]);
            else if (what < (index % 3 == 1 ? 60 : 6))
                change_freely(&free_slots[which], &random);
            else if (what < 80)
                look(&ordered_slots[which], &last[which]);
            else
                look(&free_slots[which], NULL);
        }
        atomic_fetch_add_explicit(&run.operations, 200, memory_order_relaxed);
        if (random_below(&random, 4) == 0)
            OURO_BLOCKING {
                sched_yield();
            }
        if (random_below(&random, 500) == 0)
            ouro_thread_unregister();
        ouro_safepoint();
    }
}

void slots_run(void)
{
    run_threads(run.threads, work);
    for (size_t i = 0; i < SLOTS; i++) {
        ouro_slot_store(&free_slots[i], NULL);
        ouro_slot_store(&ordered_slots[i], NULL);
    }
    CHECK(atomic_load(&made) > 0);
    CHECK(atomic_load(&made) == atomic_load(&died));
}
