/* golden/pairs.c: the program `ouro-pairs`: loops of malloc and free as bare as C has them, for counting instructions.
 *
 * Owns        nothing beyond the blocks of one turn.
 * Invariants  every turn does the same; what is done before and after the loop does not depend on the number of turns.
 * Sync        in `remote`, a barrier a batch: one thread allocates while the other sleeps, then the other way round.
 * Source      none
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 100, REMOTE_BATCH = 1000 };

static void pairs_run(size_t size, long turns)
{
    for (long i = 0; i < turns; i++)
        free(malloc(size));
}

/* turns counts pairs; the blocks of a batch are freed in the order of their making. */
static void batch_run(size_t size, long turns)
{
    void *blocks[BATCH];
    for (long i = 0; i < turns; i += BATCH) {
        for (int k = 0; k < BATCH; k++)
            blocks[k] = malloc(size);
        for (int k = 0; k < BATCH; k++)
            free(blocks[k]);
    }
}

static struct {
    pthread_barrier_t full;
    pthread_barrier_t empty;
    long turns;
    void *blocks[REMOTE_BATCH];
} remote;

static void *remote_main(void *arg)
{
    (void)arg;
    for (long i = 0; i < remote.turns; i += REMOTE_BATCH) {
        pthread_barrier_wait(&remote.full);
        for (int k = 0; k < REMOTE_BATCH; k++)
            free(remote.blocks[k]);
        pthread_barrier_wait(&remote.empty);
    }
    return NULL;
}

static void remote_run(size_t size, long turns)
{
    pthread_t thread;
    remote.turns = turns;
    pthread_barrier_init(&remote.full, NULL, 2);
    pthread_barrier_init(&remote.empty, NULL, 2);
    if (pthread_create(&thread, NULL, remote_main, NULL) != 0)
        exit(1);
    for (long i = 0; i < turns; i += REMOTE_BATCH) {
        for (int k = 0; k < REMOTE_BATCH; k++)
            remote.blocks[k] = malloc(size);
        pthread_barrier_wait(&remote.full);
        pthread_barrier_wait(&remote.empty);
    }
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("usage: ouro-pairs pairs|batch|remote SIZE TURNS\n", stderr);
        return 2;
    }
    size_t size = strtoul(argv[2], NULL, 10);
    long turns = strtol(argv[3], NULL, 10);
    if (strcmp(argv[1], "pairs") == 0)
        pairs_run(size, turns);
    else if (strcmp(argv[1], "batch") == 0)
        batch_run(size, turns);
    else if (strcmp(argv[1], "remote") == 0)
        remote_run(size, turns);
    else
        return 2;
    return 0;
}
