/* examples/collected.c: collections that come by themselves, and a callback that sees them. */
#include <stdio.h>

#include <ouro/ouro.h>

struct node {
    ouro_object header;
    struct node *other;
};

static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, other));

static unsigned long collections, collected;

static void see(ouro_gc_phase phase, const ouro_gc_info *info, void *arg)
{
    (void)arg;
    if (phase != OURO_GC_STOP)
        return;
    collections++;
    collected += info->collected;
}

int main(void)
{
    const size_t threshold[OURO_GC_GENERATIONS] = { 700, 10, 10 };
    ouro_gc_set_threshold(threshold);
    if (ouro_gc_callback_add(see, NULL) != 0)
        return 1;
    for (int i = 0; i < 7010; i++) { /* pairs */
        struct node *a = ouro_new(&node_type), *b = ouro_new(&node_type);
        if (a == NULL || b == NULL)
            return 1;
        a->other = b; /* our references move in */
        b->other = a;
    }
    printf("14020 objects were made; %lu collections found %lu\n", collections, collected);
    long rest = ouro_gc_collect(2);
    printf("the rest: %ld, in all: %lu\n", rest, collected);
    return 0;
}
