/* golden/objects.c: the program `ouro-object-pairs`: loops of counts and of objects, for counting instructions.
 *
 * Owns        the objects of one run.
 * Invariants  every turn does the same; what is done before and after the loop does not depend on the number of turns.
 * Sync        in `other`, the owner has ended when the loop begins.
 * Source      none
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ouro/object.h>

struct object {
    ouro_object base;
    ouro_object *refs[2];
};
static size_t object_size;
static ouro_type plain_type = OURO_TYPE(struct object);
static ouro_type tracked_type = OURO_TYPE(struct object, OURO_REFS(struct object, refs[0], refs[1]));

static inline void *opaque(void *ptr)
{
    __asm__ volatile("" : "+r"(ptr) : : "memory");
    return ptr;
}

static void *make(ouro_type *type)
{
    type->size = object_size;
    void *obj = ouro_new(type);
    if (obj == NULL)
        exit(1);
    return opaque(obj);
}

static void count_pairs(void *obj, long turns)
{
    for (long i = 0; i < turns; i++) {
        ouro_incref(obj);
        __asm__ volatile(""
                         : "+m"(*(struct object *)obj)); /* both happen; the compiler may keep all else in registers */
        ouro_decref(obj);
        __asm__ volatile("" : "+m"(*(struct object *)obj));
    }
    ouro_decref(obj);
}

static void owner_run(long turns)
{
    count_pairs(make(&plain_type), turns);
}

static void *make_main(void *arg)
{
    *(void **)arg = make(&plain_type);
    return NULL;
}

static void other_run(long turns)
{
    pthread_t thread;
    void *obj = NULL;
    if (pthread_create(&thread, NULL, make_main, &obj) != 0)
        exit(1);
    OURO_BLOCKING {
        pthread_join(thread, NULL);
    }
    ouro_incref(obj);
    count_pairs(opaque(obj), turns);
    ouro_decref(obj);
}

static void new_run(ouro_type *type, long turns)
{
    type->size = object_size;
    for (long i = 0; i < turns; i++)
        ouro_decref(opaque(ouro_new(type)));
}

static void slot_run(long turns)
{
    ouro_slot slot = { NULL };
    ouro_slot_exchange(&slot, make(&plain_type));
    for (long i = 0; i < turns; i++)
        ouro_decref(opaque(ouro_slot_load(&slot)));
    ouro_slot_store(&slot, NULL);
}

static void safepoint_run(long turns)
{
    for (long i = 0; i < turns; i++) {
        ouro_safepoint();
        __asm__ volatile(""); /* a turn */
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("usage: ouro-object-pairs owner|other|new|tracked|slot|safepoint SIZE TURNS\n", stderr);
        return 2;
    }
    object_size = strtoul(argv[2], NULL, 10);
    long turns = strtol(argv[3], NULL, 10);
    if (ouro_thread_register() != 0)
        return 1;
    if (strcmp(argv[1], "owner") == 0)
        owner_run(turns);
    else if (strcmp(argv[1], "other") == 0)
        other_run(turns);
    else if (strcmp(argv[1], "new") == 0)
        new_run(&plain_type, turns);
    else if (strcmp(argv[1], "tracked") == 0)
        new_run(&tracked_type, turns);
    else if (strcmp(argv[1], "slot") == 0)
        slot_run(turns);
    else if (strcmp(argv[1], "safepoint") == 0)
        safepoint_run(turns);
    else
        return 2;
    return 0;
}
