/* examples/orphans.c: a root that keeps some, and orphans that only keep each other. */
#include <stdio.h>

#include <ouro/ouro.h>

struct node {
    ouro_object header;
    char name[16];
    struct node *left, *right;
};

static void gone(ouro_object *self)
{
    printf("%s is freed\n", ((struct node *)self)->name);
}

static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, left, right), .destroy = gone);

static struct node *new_node(const char *name, int number)
{
    struct node *node = ouro_new(&node_type);
    if (node != NULL)
        snprintf(node->name, sizeof node->name, "%s %d", name, number);
    return node;
}

static bool show(ouro_object *obj, void *arg)
{
    printf("%s%s", (const char *)arg, ((struct node *)obj)->name);
    return true;
}

int main(void)
{
    struct node *root = new_node("root", 0), *previous = NULL, *first = NULL;
    if (root == NULL)
        return 1;
    root->left = new_node("child", 1);
    root->right = new_node("child", 2);
    root->left->right = ouro_newref(root); /* a cycle that the root keeps */
    for (int i = 1; i <= 3; i++) {         /* three orphans in a ring */
        struct node *orphan = new_node("orphan", i);
        if (previous != NULL)
            previous->left = orphan;
        else
            first = orphan;
        previous = orphan;
    }
    previous->left = first;

    printf("collected: %ld\n", ouro_gc_collect(2));
    printf("the collector knows %zu objects:", ouro_gc_get_objects(-1, NULL, NULL));
    ouro_gc_get_objects(-1, show, " ");
    printf("\nthe root refers to:");
    ouro_gc_get_referents(root, show, " ");
    printf("\nit is referred to by:");
    ouro_gc_get_referrers(root, show, " ");
    printf("\n");

    ouro_decref(root);
    printf("collected: %ld\n", ouro_gc_collect(2));
    return 0;
}
