/* examples/finalizers.c: rings of nodes with names, whose finalizers report. A finalizer runs once, while everything that its
 * object refers to is still there, and it may bring the object back. */
#include <stdio.h>

#include <ouro/ouro.h>

struct node {
    ouro_object header;
    const char *name;
    struct node *next;
};

static struct node *saved;

static void report(ouro_object *self)
{
    struct node *node = (struct node *)self;
    printf("finalizer of %s, which leads to %s\n", node->name, node->next->name);
    if (node->name[0] == 'C') {
        printf("C comes back\n");
        saved = ouro_newref(node);
    }
}

static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, next), .finalize = report);

static struct node *new_node(const char *name, struct node *next)
{
    struct node *node = ouro_new(&node_type);
    if (node == NULL)
        return NULL;
    node->name = name;
    node->next = ouro_xnewref(next);
    return node;
}

/* Makes a ring of two and lets go of it. */
static int make_ring(const char *first, const char *second)
{
    OURO_AUTO struct node *a = new_node(first, NULL);
    OURO_AUTO struct node *b = new_node(second, a);
    if (a == NULL || b == NULL)
        return 1;
    a->next = ouro_newref(b);
    return 0;
}

int main(void)
{
    if (make_ring("A", "B") != 0 || make_ring("C", "D") != 0)
        return 1;
    printf("collected: %ld\n", ouro_gc_collect(2));
    printf("%s still leads to %s\n", saved->name, saved->next->name);
    OURO_CLEAR(saved);
    printf("collected: %ld\n", ouro_gc_collect(2));
    return 0;
}
