/* examples/requests.c: a heap for each request. Everything that a request needs comes from its heap, nothing is freed by
 * itself, and the end of the request frees it all. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <ouro/ouro.h>

/* A path cut into its parts: nodes, strings, arrays: what a parser makes and nobody wants to free one by one. */
struct part {
    struct part *next;
    char *text;
};

static struct part *parse(ouro_heap *heap, const char *path)
{
    struct part *parts = NULL, **last = &parts;
    while (*path != '\0') {
        size_t length = strcspn(path, "/");
        struct part *part = ouro_heap_calloc(heap, 1, sizeof *part);
        char *text = ouro_heap_calloc(heap, 1, length + 1);
        if (part == NULL || text == NULL)
            return NULL; /* what was made so far goes with the heap */
        memcpy(text, path, length);
        part->text = text;
        *last = part;
        last = &part->next;
        path += length + (path[length] == '/');
    }
    return parts;
}

static char *answer(ouro_heap *heap, const struct part *parts)
{
    size_t used = 0, room = 16;
    char *text = ouro_heap_calloc(heap, 1, room);
    for (; text != NULL && parts != NULL; parts = parts->next) {
        size_t length = strlen(parts->text);
        while (used + length + 2 > room && text != NULL)
            text = ouro_heap_realloc(heap, text, room *= 2);
        if (text != NULL)
            used += (size_t)sprintf(text + used, "<%s>", parts->text);
        if (used + 2 > room)
            text = NULL;
    }
    return text;
}

static _Atomic unsigned served, failed;

static void serve(const char *path, bool show)
{
    ouro_heap *heap = ouro_heap_new();
    struct part *parts = heap == NULL ? NULL : parse(heap, path);
    char *text = parts == NULL ? NULL : answer(heap, parts);
    if (show)
        printf("%s -> %s\n", path, text != NULL ? text : "out of memory");
    *(text != NULL ? &served : &failed) += 1;
    ouro_heap_destroy(heap); /* NULL does nothing */
}

static void *worker(void *unused)
{
    (void)unused;
    for (int i = 0; i < 5000; i++)
        serve("users/ada/letters/1843/notes", false);
    return NULL;
}

int main(void)
{
    serve("users/ada/letters", true);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, worker, NULL) != 0)
            return 1;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL); /* this thread has no objects: no region is needed */
    printf("%u served, %u failed\n", served, failed);
    ouro_alloc_stats stats;
    ouro_stats_get(&stats);
    printf("left of all that: %s\n", stats.allocated < 100000 ? "nothing to speak of" : "too much");
    return 0;
}
