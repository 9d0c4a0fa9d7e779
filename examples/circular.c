/* examples/circular.c: three pairs that refer to each other, with automatic collection off. */
#include <stdio.h>

#include <ouro/ouro.h>

struct circular_ref {
    ouro_object header;
    struct circular_ref *partner;
};

static ouro_type circular_ref_type = OURO_TYPE(struct circular_ref, OURO_REFS(struct circular_ref, partner));

static void show_count(const char *when)
{
    size_t count[OURO_GC_GENERATIONS];
    ouro_gc_get_count(count);
    printf("%s: %zu, %zu, %zu\n", when, count[0], count[1], count[2]);
}

int main(void)
{
    ouro_gc_disable();
    printf("automatic collection is %s\n", ouro_gc_is_enabled() ? "on" : "off");
    show_count("count at the start");
    for (int i = 0; i < 3; i++) {
        OURO_AUTO struct circular_ref *a = ouro_new(&circular_ref_type);
        OURO_AUTO struct circular_ref *b = ouro_new(&circular_ref_type);
        if (a == NULL || b == NULL)
            return 1;
        a->partner = ouro_newref(b);
        b->partner = ouro_newref(a);
    }
    show_count("count before");
    printf("unreachable objects found: %ld\n", ouro_gc_collect(2));
    show_count("count after");
    ouro_gc_enable();
    printf("automatic collection is %s\n", ouro_gc_is_enabled() ? "on" : "off");
    return 0;
}
