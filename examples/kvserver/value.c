/* kvserver/value.c: strings, hashes and lists: the types, and what is done with them. Sorted sets: zset.c.
 *
 * All but strings are changed and read under the lock of the shard that they are in.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv.h"
#include "table.h"

/* A type is its size and a map of its references. Trailing items follow the struct: bytes here, references below. */
ouro_type string_type = OURO_TYPE_SIZED(struct string, offsetof(struct string, bytes), .item_size = 1);
ouro_type pairs_type = OURO_TYPE_SIZED(struct pairs, offsetof(struct pairs, at), .item_size = sizeof(struct string *),
                                       .items_are_refs = true);
ouro_type hash_type = OURO_TYPE(struct hash, OURO_REFS(struct hash, pairs, rendered));
static ouro_type list_block_type =
    OURO_TYPE_SIZED(struct list_block, offsetof(struct list_block, at), OURO_REFS(struct list_block, next, previous),
                    .item_size = sizeof(struct string *), .items_are_refs = true);
ouro_type list_type = OURO_TYPE(struct list, OURO_REFS(struct list, head, tail));

struct string *string_new(const char *bytes, size_t length)
{
    struct string *s = ouro_new_items(&string_type, length + 1); /* ends in a zero, for strtod */
    if (s != NULL) {
        s->length = length;
        memcpy(s->bytes, bytes, length);
    }
    return s;
}

struct string *string_of_number(long long number)
{
    char text[32];
    return string_new(text, (size_t)snprintf(text, sizeof text, "%lld", number));
}

struct string *string_of_double(double number)
{
    char text[40];
    return string_new(text, (size_t)snprintf(text, sizeof text, "%.17g", number));
}

int string_compare(const struct string *a, const struct string *b)
{
    size_t shorter = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->bytes, b->bytes, shorter);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

bool string_equal(const struct string *a, const struct string *b)
{
    return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

bool string_to_number(const struct string *s, long long *number)
{
    char *end;
    if (s->length == 0 || s->length > 20 || s->bytes[0] == ' ' || s->bytes[0] == '+')
        return false;
    errno = 0;
    *number = strtoll(s->bytes, &end, 10);
    return errno == 0 && end == s->bytes + s->length;
}

bool string_to_double(const struct string *s, double *number)
{
    char *end;
    if (s->length == 0 || s->length > 40 || s->bytes[0] == ' ')
        return false;
    *number = strtod(s->bytes, &end);
    return end == s->bytes + s->length && !isnan(*number);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    a = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
    return a ^ a >> 29;
}

/* Seeded, so that who chooses keys does not choose buckets. */
uint64_t string_hash(const struct string *s)
{
    uint64_t h = table_seed ^ s->length, word;
    size_t i = 0;
    for (; i + 8 <= s->length; i += 8) {
        memcpy(&word, s->bytes + i, 8);
        h = mix(h, word);
    }
    word = 0;
    memcpy(&word, s->bytes + i, s->length - i);
    return mix(mix(h, word), table_seed);
}

/* ---- tables of pairs ---- */

uint64_t table_seed;

static struct pairs *pairs_new(size_t room)
{
    struct pairs *pairs = ouro_new_items(&pairs_type, 2 * room);
    if (pairs != NULL)
        pairs->room = room;
    return pairs;
}

/* Where the key is, or where it would go. There is always a free place. */
static size_t pairs_place(const struct pairs *pairs, const struct string *key)
{
    size_t i = string_hash(key) & (pairs->room - 1);
    while (pairs->at[2 * i] != NULL && !string_equal(pairs->at[2 * i], key))
        i = (i + 1) & (pairs->room - 1);
    return i;
}

void *table_get(const struct pairs *pairs, const struct string *key)
{
    return pairs == NULL ? NULL : pairs->at[2 * pairs_place(pairs, key) + 1];
}

/* At most half full. */
static bool pairs_grow(struct pairs **pairs)
{
    struct pairs *old = *pairs, *grown = pairs_new(old == NULL ? 4 : 2 * old->room);
    if (grown == NULL)
        return false;
    for (size_t i = 0; old != NULL && i < old->room; i++)
        if (old->at[2 * i] != NULL) { /* the references move */
            size_t to = pairs_place(grown, old->at[2 * i]);
            grown->at[2 * to] = OURO_MOVE(old->at[2 * i]);
            grown->at[2 * to + 1] = OURO_MOVE(old->at[2 * i + 1]);
        }
    OURO_SETREF(*pairs, grown);
    return true;
}

int table_set(struct pairs **pairs, size_t count, struct string *key, void *value)
{
    if ((*pairs == NULL || 2 * (count + 1) > (*pairs)->room) && !pairs_grow(pairs))
        return -1;
    size_t i = pairs_place(*pairs, key);
    bool is_new = (*pairs)->at[2 * i] == NULL;
    if (is_new)
        (*pairs)->at[2 * i] = ouro_newref(key);
    OURO_SETREF((*pairs)->at[2 * i + 1], ouro_newref(value));
    return is_new;
}

bool table_delete(struct pairs *pairs, const struct string *key)
{
    if (pairs == NULL)
        return false;
    size_t mask = pairs->room - 1, hole = pairs_place(pairs, key);
    if (pairs->at[2 * hole] == NULL)
        return false;
    OURO_CLEAR(pairs->at[2 * hole]);
    OURO_CLEAR(pairs->at[2 * hole + 1]);
    /* What was placed behind it because of it moves up. */
    for (size_t i = (hole + 1) & mask; pairs->at[2 * i] != NULL; i = (i + 1) & mask) {
        size_t ideal = string_hash(pairs->at[2 * i]) & mask;
        if (((i - ideal) & mask) < ((i - hole) & mask))
            continue;
        pairs->at[2 * hole] = OURO_MOVE(pairs->at[2 * i]);
        pairs->at[2 * hole + 1] = OURO_MOVE(pairs->at[2 * i + 1]);
        hole = i;
    }
    return true;
}

/* ---- hashes ---- */

struct hash *hash_new(void)
{
    return ouro_new(&hash_type);
}

int hash_set(struct hash *hash, struct string *field, struct string *value)
{
    int added = table_set(&hash->pairs, hash->count, field, value);
    OURO_CLEAR(hash->rendered);
    if (added == 1)
        hash->count++;
    return added;
}

struct string *hash_get(const struct hash *hash, const struct string *field)
{
    return table_get(hash->pairs, field);
}

bool hash_delete(struct hash *hash, const struct string *field)
{
    if (!table_delete(hash->pairs, field))
        return false;
    hash->count--;
    OURO_CLEAR(hash->rendered);
    return true;
}

/* ---- lists ---- */

struct list *list_new(void)
{
    return ouro_new(&list_type);
}

/* A block at one end; the elements of the first are in its middle, so that both ends have room. */
static struct list_block *list_extend(struct list *list, bool at_head)
{
    struct list_block *block = ouro_new_items(&list_block_type, LIST_BLOCK);
    if (block == NULL)
        return NULL;
    if (list->head == NULL) {
        block->first = block->end = LIST_BLOCK / 2;
        list->head = ouro_newref(block);
        list->tail = block;
    } else if (at_head) {
        block->first = block->end = LIST_BLOCK;
        list->head->previous = ouro_newref(block);
        block->next = list->head; /* the list's reference to it moves in */
        list->head = block;
    } else {
        list->tail->next = ouro_newref(block);
        block->previous = list->tail;
        list->tail = block;
    }
    return block;
}

bool list_push(struct list *list, struct string *value, bool at_head)
{
    struct list_block *block = at_head ? list->head : list->tail;
    if (block == NULL || (at_head ? block->first == 0 : block->end == LIST_BLOCK))
        block = list_extend(list, at_head);
    if (block == NULL)
        return false;
    block->at[at_head ? --block->first : block->end++] = ouro_newref(value);
    list->count++;
    return true;
}

/* An empty block leaves, and with it the cycle that it is part of. */
static void list_shrink(struct list *list, bool at_head)
{
    struct list_block *block = at_head ? list->head : list->tail;
    if (list->head == list->tail) {
        OURO_CLEAR(list->head);
        OURO_CLEAR(list->tail);
    } else if (at_head) {
        struct list_block *next = OURO_MOVE(block->next);
        OURO_CLEAR(next->previous);
        OURO_SETREF(list->head, next);
    } else {
        struct list_block *previous = OURO_MOVE(block->previous);
        OURO_CLEAR(previous->next);
        OURO_SETREF(list->tail, previous);
    }
}

struct string *list_pop(struct list *list, bool at_head)
{
    struct list_block *block = at_head ? list->head : list->tail;
    if (block == NULL)
        return NULL;
    struct string *value = OURO_MOVE(block->at[at_head ? block->first++ : --block->end]);
    list->count--;
    if (block->first == block->end)
        list_shrink(list, at_head);
    return value;
}

void list_each(const struct list *list, size_t from, size_t to, void (*fn)(struct string *value, void *arg), void *arg)
{
    size_t index = 0;
    for (const struct list_block *block = list->head; block != NULL && index <= to; block = block->next) {
        size_t here = block->end - block->first;
        for (size_t i = from > index ? from - index : 0; i < here && index + i <= to; i++)
            fn(block->at[block->first + i], arg);
        index += here;
    }
}
