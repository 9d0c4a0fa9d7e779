/* examples/document.c: a tree whose nodes refer to their parents, as documents in browsers do. Every node is in a cycle
 * with its parent; a part that is taken out lives as long as somebody holds any node of it, parents and all. */
#include <stdio.h>
#include <string.h>

#include <ouro/ouro.h>

struct element {
    ouro_object base;
    struct element *parent, *first, *next; /* strong, all three */
    char name[16];
};

static unsigned alive;
static void element_destroy(ouro_object *self)
{
    (void)self;
    alive--;
}
static ouro_type element_type =
    OURO_TYPE(struct element, OURO_REFS(struct element, parent, first, next), .destroy = element_destroy);

/* Borrowed: its parent holds it. NULL: no memory. */
static struct element *append(struct element *parent, const char *name)
{
    struct element *element = ouro_new(&element_type);
    if (element == NULL)
        return NULL;
    alive++;
    snprintf(element->name, sizeof element->name, "%s", name);
    if (parent != NULL) {
        struct element **at = &parent->first;
        while (*at != NULL)
            at = &(*at)->next;
        *at = element; /* our reference moves into the tree */
        element->parent = ouro_newref(parent);
    }
    return element;
}

/* Takes an element out of its parent; the reference that the parent had is the caller's. */
static struct element *detach(struct element *element)
{
    struct element **at = &element->parent->first;
    while (*at != element)
        at = &(*at)->next;
    *at = OURO_MOVE(element->next);
    OURO_CLEAR(element->parent);
    return element;
}

static void print_path(const struct element *element)
{
    if (element->parent != NULL)
        print_path(element->parent);
    printf("/%s", element->name);
}

int main(void)
{
    struct element *html = append(NULL, "html"), *body = append(html, "body");
    for (int i = 0; i < 3; i++) {
        struct element *list = append(body, "ul");
        for (int j = 0; j < 100; j++)
            append(list, "li");
    }
    struct element *item = ouro_newref(body->first->next->first->next);
    print_path(item);
    printf(": %u elements\n", alive);

    struct element *list = detach(body->first->next);
    ouro_decref(list); /* nobody has it but its own items, as their parent */
    print_path(item);
    printf(" is held by one of its items: %u elements\n", alive);
    ouro_decref(item);
    long found = ouro_gc_collect(2);
    printf("%ld found by the collector: %u elements\n", found, alive);

    ouro_decref(html); /* the whole document, cycles throughout */
    found = ouro_gc_collect(2);
    printf("%ld found by the collector: %u elements\n", found, alive);
    return 0;
}
