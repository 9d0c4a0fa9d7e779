/* examples/generations.c: objects grow old; statistics of the three generations. */
#include <stdio.h>

#include <ouro/ouro.h>

struct node {
    ouro_object header;
    struct node *next;
};

static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, next));

static int make_cycles(int count)
{
    for (int i = 0; i < count; i++) {
        struct node *node = ouro_new(&node_type);
        if (node == NULL)
            return 1;
        node->next = node; /* our reference moves in */
    }
    return 0;
}

static void show(void)
{
    ouro_gc_stats stats[OURO_GC_GENERATIONS];
    ouro_gc_get_stats(stats);
    for (int i = 0; i < OURO_GC_GENERATIONS; i++)
        printf("  generation %d: collections %llu, collected %llu, uncollectable %llu\n", i,
               (unsigned long long)stats[i].collections, (unsigned long long)stats[i].collected,
               (unsigned long long)stats[i].uncollectable);
}

int main(void)
{
    ouro_gc_disable();
    struct node *kept = ouro_new(&node_type);
    if (kept == NULL)
        return 1;
    printf("a new object is in generation %d\n", ouro_gc_generation_of(kept));
    for (int generation = 0; generation < OURO_GC_GENERATIONS; generation++) {
        if (make_cycles(10 * (generation + 1)) != 0)
            return 1;
        long found = ouro_gc_collect(generation);
        printf("collecting generation %d found %ld; the object is in generation %d\n", generation, found,
               ouro_gc_generation_of(kept));
    }
    show();
    ouro_decref(kept);
    return 0;
}
