/* tool/busy.c: threads that allocate, free and drop cycles until standard input ends, for `ouro top` to look at. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <ouro/ouro.h>

enum { THREADS = 4, KEPT = 512 };

struct node {
    ouro_object base;
    struct node *other;
};
static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, other));
static bool stopped;

static void drop_cycle(void)
{
    struct node *node = ouro_new(&node_type);
    if (node != NULL) {
        node->other = ouro_newref(node);
        ouro_decref(node);
    }
}

static void *work(void *arg)
{
    void *kept[KEPT] = { NULL };
    unsigned seed = (unsigned)(uintptr_t)arg;
    while (!__atomic_load_n(&stopped, __ATOMIC_RELAXED)) {
        seed = seed * 1103515245u + 12345u;
        ouro_free(kept[seed >> 8 & (KEPT - 1)]);
        kept[seed >> 8 & (KEPT - 1)] = ouro_malloc(seed >> 20);
        drop_cycle();
    }
    for (unsigned i = 0; i < KEPT; i++)
        ouro_free(kept[i]);
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    char byte;
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)(i + 1)) != 0)
            return 1;
    puts("ready");
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    __atomic_store_n(&stopped, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
