/* examples/configuration.c: threads that share an immutable configuration through a slot. It is replaced while they work;
 * no reader takes a lock, and none sees half of an old one and half of a new. */
#include <pthread.h>
#include <stdio.h>

#include <ouro/ouro.h>

/* Never changed once it is in the slot: a change is a new one. */
struct configuration {
    ouro_object base;
    unsigned version, timeout, retries; /* timeout == 10 * version, retries == version + 1 */
};

static void configuration_destroy(ouro_object *self);
static ouro_type configuration_type = OURO_TYPE(struct configuration, .destroy = configuration_destroy);
static _Atomic unsigned freed;

static void configuration_destroy(ouro_object *self)
{
    (void)self;
    freed++;
}

static ouro_slot current; /* zero: empty */
static _Atomic unsigned long jobs, torn;
static _Atomic bool done;

static bool publish(unsigned version)
{
    struct configuration *next = ouro_new(&configuration_type);
    if (next == NULL)
        return false;
    next->version = version;
    next->timeout = 10 * version;
    next->retries = version + 1;
    ouro_slot_store(&current, next); /* takes its own reference and drops that of the one before */
    ouro_decref(next);
    return true;
}

static void *worker(void *unused)
{
    (void)unused;
    while (!done) {
        /* One load for a job: what it holds stays as it is, whatever is published meanwhile. */
        struct configuration *configuration = ouro_slot_load(&current);
        if (configuration->timeout != 10 * configuration->version ||
            configuration->retries != configuration->version + 1)
            torn++;
        jobs++;
        ouro_decref(configuration);
        ouro_safepoint(); /* a loop that makes no object says now and then that it can be stopped here */
    }
    return NULL;
}

enum { WORKERS = 4, VERSIONS = 1000 };

int main(void)
{
    pthread_t threads[WORKERS];
    if (!publish(1))
        return 1;
    for (int i = 0; i < WORKERS; i++)
        if (pthread_create(&threads[i], NULL, worker, NULL) != 0)
            return 1;
    for (unsigned version = 2; version <= VERSIONS || jobs < 1000; version++)
        if (!publish(version <= VERSIONS ? version : VERSIONS))
            return 1;
    done = true;
    for (int i = 0; i < WORKERS; i++)
        OURO_BLOCKING /* who waits is in a blocking region, so that no collection waits for it */
        {
            pthread_join(threads[i], NULL);
        }
    struct configuration *last = ouro_slot_exchange(&current, NULL);
    printf("the last version is %u; jobs that saw a torn configuration: %lu\n", last->version, torn);
    ouro_decref(last);
    ouro_safepoint(); /* what threads dropped of ours is freed here at the latest */
    printf("all but the last were freed as they were replaced: %s\n", freed >= VERSIONS ? "yes" : "no");
    return 0;
}
