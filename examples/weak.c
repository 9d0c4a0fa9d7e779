/* examples/weak.c: a tree whose children know their parent by weak references: there is no cycle, and so nothing for the
 * collector to do. */
#include <stdio.h>

#include <ouro/ouro.h>

struct node {
    ouro_object header;
    const char *name;
    struct node *child;
    ouro_weakref *parent;
};

static void gone(ouro_object *self)
{
    printf("%s is freed\n", ((struct node *)self)->name);
}

static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, child, parent), .destroy = gone);

static void notice(ouro_weakref *ref, void *arg)
{
    printf("%s has lost its parent%s\n", (const char *)arg, ouro_weakref_get(ref) == NULL ? "" : ", it seems");
}

int main(void)
{
    ouro_gc_disable();
    struct node *parent = ouro_new(&node_type), *child = ouro_new(&node_type);
    if (parent == NULL || child == NULL)
        return 1;
    parent->name = "parent";
    child->name = "child";
    parent->child = ouro_newref(child);
    child->parent = ouro_weakref_new(parent, notice, (void *)"child");

    struct node *found = ouro_weakref_get(child->parent);
    printf("the parent of the child is %s, with %zu references, one of them ours\n", found->name, ouro_refcount(found));
    ouro_decref(found);

    ouro_decref(parent);
    printf("now it is %s\n", ouro_weakref_get(child->parent) == NULL ? "nobody" : "somebody");
    ouro_decref(child);
    printf("left for the collector: %ld\n", ouro_gc_collect(2));
    return 0;
}
