/* examples/values.c: the values of a small language: numbers, strings, lists, dictionaries, closures. What a runtime would
 * do: one header for all, a type for each, and no collector of its own, though its programs make cycles all the time.
 *
 * A list's elements and a dictionary's table are objects of their own with trailing references, so that they can grow; the
 * list refers to the block that it has at the moment. */
#include <stdio.h>
#include <string.h>

#include <ouro/ouro.h>

typedef ouro_object value; /* any of them: ouro_typeof says which */

struct number {
    ouro_object base;
    double is;
};
struct text {
    ouro_object base;
    char bytes[]; /* trailing items of one byte */
};
struct block {
    ouro_object base;
    value *at[]; /* trailing references: the collector reads them by itself */
};
struct list {
    ouro_object base;
    struct block *block;
    size_t count;
};
struct dict {
    ouro_object base;
    struct block *pairs; /* key, value, key, value */
    size_t count;
};
struct closure {
    ouro_object base;
    struct dict *scope; /* what the function sees: often, the scope sees the function */
    value *(*code)(struct dict *scope, value *argument);
};

static ouro_type number_type = OURO_TYPE(struct number);
static ouro_type text_type = OURO_TYPE_SIZED(struct text, sizeof(struct text), .item_size = 1);
static ouro_type block_type =
    OURO_TYPE_SIZED(struct block, offsetof(struct block, at), .item_size = sizeof(value *), .items_are_refs = true);
static ouro_type list_type = OURO_TYPE(struct list, OURO_REFS(struct list, block));
static ouro_type dict_type = OURO_TYPE(struct dict, OURO_REFS(struct dict, pairs));
static ouro_type closure_type = OURO_TYPE(struct closure, OURO_REFS(struct closure, scope));

/* In this page, who is out of memory gets NULL from here on, and main gives up. */
static value *number(double is)
{
    struct number *made = ouro_new(&number_type);
    if (made != NULL)
        made->is = is;
    return (value *)made;
}

static struct text *text(const char *bytes)
{
    struct text *made = ouro_new_items(&text_type, strlen(bytes) + 1);
    if (made != NULL)
        strcpy(made->bytes, bytes);
    return made;
}

/* Makes room for one more; the references move to the larger block. */
static bool grow(struct block **block, size_t used, size_t more)
{
    size_t room = *block == NULL ? 0 : ouro_item_count(*block);
    if (used + more <= room)
        return true;
    struct block *grown = ouro_new_items(&block_type, room == 0 ? 4 : 2 * room);
    for (size_t i = 0; grown != NULL && i < used; i++)
        grown->at[i] = OURO_MOVE((*block)->at[i]);
    if (grown != NULL)
        OURO_SETREF(*block, grown);
    return grown != NULL;
}

/* list and dict take over the references to what they are given. */
static bool append(struct list *list, value *element)
{
    if (element == NULL || !grow(&list->block, list->count, 1))
        return false;
    list->block->at[list->count++] = element;
    return true;
}

static value *lookup(const struct dict *dict, const char *key) /* borrowed */
{
    for (size_t i = 0; i < dict->count; i += 2)
        if (strcmp(((struct text *)dict->pairs->at[i])->bytes, key) == 0)
            return dict->pairs->at[i + 1];
    return NULL;
}

static bool define(struct dict *dict, const char *key, value *to)
{
    struct text *name = text(key);
    if (to == NULL || name == NULL || !grow(&dict->pairs, dict->count, 2))
        return false;
    dict->pairs->at[dict->count++] = (value *)name;
    dict->pairs->at[dict->count++] = to;
    return true;
}

static void print(const value *v)
{
    if (ouro_typeof(v) == &number_type)
        printf("%g", ((const struct number *)v)->is);
    else if (ouro_typeof(v) == &text_type)
        printf("\"%s\"", ((const struct text *)v)->bytes);
    else if (ouro_typeof(v) == &list_type) {
        const struct list *list = (const struct list *)v;
        for (size_t i = 0; i < list->count; i++) {
            printf(i == 0 ? "[" : ", ");
            print(list->block->at[i]);
        }
        printf("]");
    } else
        printf("<%s>", ouro_typeof(v)->name);
}

/* let add = fn(x) { append(seen, x); total = total + x }  run in the scope that defines it */
static value *add_code(struct dict *scope, value *x)
{
    append((struct list *)lookup(scope, "seen"), ouro_newref(x));
    struct number *total = (struct number *)lookup(scope, "total");
    total->is += ((struct number *)x)->is;
    return ouro_newref(total);
}

static bool run_program(unsigned turns)
{
    OURO_AUTO struct dict *scope = ouro_new(&dict_type);
    struct closure *add = ouro_new(&closure_type);
    if (scope == NULL || add == NULL)
        return false;
    add->scope = ouro_newref(scope);
    add->code = add_code;
    if (!define(scope, "seen", ouro_new(&list_type)) || !define(scope, "total", number(0)) ||
        !define(scope, "add", (value *)add)) /* the scope has the closure, and the closure the scope */
        return false;
    for (unsigned i = 1; i <= turns; i++) {
        OURO_AUTO value *x = number(i);
        if (x == NULL)
            return false;
        ouro_xdecref(add->code(add->scope, x));
    }
    if (turns == 5) {
        print(lookup(scope, "seen"));
        printf(" sum to ");
        print(lookup(scope, "total"));
        printf(", by ");
        print(lookup(scope, "add"));
        printf("\n");
    }
    return true;
}

int main(void)
{
    if (!run_program(5))
        return 1;
    printf("the program ended; its scope, closure and list were unreachable: %s\n",
           ouro_gc_collect(2) > 0 ? "yes" : "no");
    for (int i = 0; i < 20000; i++) /* collections come by themselves */
        if (!run_program(10))
            return 1;
    ouro_gc_collect(2);
    printf("objects tracked after 20000 programs more: %zu\n", ouro_gc_get_objects(-1, NULL, NULL));
    return 0;
}
