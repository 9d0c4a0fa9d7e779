/* examples/lru_cache.c: a cache that keeps what was used last, and knows the rest weakly: an entry that it let go of is
 * found again as long as somebody else still uses it, and is never there twice. */
#include <stdio.h>
#include <string.h>

#include <ouro/ouro.h>

enum { KEYS = 8, KEPT = 3 };

struct page {
    ouro_object base;
    unsigned number;
    char text[32];
};
static ouro_type page_type = OURO_TYPE(struct page);

struct cache {
    ouro_object base;
    struct page *kept[KEPT];   /* strong, the one used last first */
    ouro_weakref *known[KEYS]; /* weak, by number */
    unsigned loads, kept_hits, weak_hits;
};
static ouro_type cache_type =
    OURO_TYPE(struct cache, OURO_REFS(struct cache, kept[0], kept[1], kept[2], known[0], known[1], known[2], known[3],
                                      known[4], known[5], known[6], known[7]));

static struct page *load(struct cache *cache, unsigned number)
{
    struct page *page = ouro_new(&page_type);
    if (page == NULL)
        return NULL;
    cache->loads++;
    page->number = number;
    snprintf(page->text, sizeof page->text, "page %u", number);
    OURO_SETREF(cache->known[number], ouro_weakref_new(page, NULL, NULL)); /* the reference is the cache's */
    return page;
}

/* To the front; the last falls out, which frees it if nobody else has it. */
static void keep(struct cache *cache, struct page *page)
{
    unsigned at = 0;
    while (at < KEPT - 1 && cache->kept[at] != page)
        at++;
    struct page *out = cache->kept[at];
    memmove(&cache->kept[1], &cache->kept[0], at * sizeof(struct page *));
    cache->kept[0] = ouro_newref(page);
    ouro_xdecref(out);
}

/* A new reference to the page. */
static struct page *get(struct cache *cache, unsigned number)
{
    struct page *page = NULL;
    bool was_kept = false;
    for (unsigned i = 0; i < KEPT; i++)
        was_kept |= cache->kept[i] != NULL && cache->kept[i]->number == number;
    if (cache->known[number] != NULL)
        page = ouro_weakref_get(cache->known[number]); /* NULL once it died */
    if (page == NULL)
        page = load(cache, number);
    else if (was_kept)
        cache->kept_hits++;
    else
        cache->weak_hits++;
    if (page != NULL)
        keep(cache, page);
    return page;
}

int main(void)
{
    OURO_AUTO struct cache *cache = ouro_new(&cache_type);
    if (cache == NULL)
        return 1;
    struct page *mine = get(cache, 0); /* used for long */
    for (unsigned round = 0; round < 3; round++)
        for (unsigned number = 1; number < 5; number++)
            ouro_xdecref(get(cache, number));
    printf("four pages in turn through a cache of three: %u loads\n", cache->loads);
    struct page *again = get(cache, 0);
    printf("%s fell out long ago and is still used: the same one: %s\n", mine->text, again == mine ? "yes" : "no");
    ouro_xdecref(get(cache, 0));
    printf("found in the cache %u, found weakly %u, loaded %u\n", cache->kept_hits, cache->weak_hits, cache->loads);
    ouro_xdecref(again);
    ouro_xdecref(mine);
    return 0;
}
