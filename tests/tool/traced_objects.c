/* tool/traced_objects.c: traces its own objects and blocks, and dumps a snapshot: traced_objects FILE [SAMPLE_BYTES]. */
#include <ouro/ouro.h>
#include <stdio.h>
#include <stdlib.h>

enum { NODES = 1000, BLOCKS = 100 };

struct node {
    ouro_object base;
    struct node *next;
    char text[40];
};
static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, next));

static __attribute__((noinline)) struct node *add_node(struct node *list)
{
    struct node *node = ouro_new(&node_type); /* node */
    if (node != NULL)
        node->next = list;
    return node;
}

int main(int argc, char **argv)
{
    static void *blocks[BLOCKS];
    struct node *list = NULL;
    size_t sample_bytes = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (argc < 2 || ouro_trace_start(16, sample_bytes) != 0)
        return 2;
    for (int i = 0; i < NODES; i++)
        list = add_node(list);
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = ouro_malloc(3000); /* block */
    ouro_free(blocks[0]);
    ouro_snapshot *snapshot = ouro_trace_take_snapshot();
    if (snapshot == NULL || ouro_snapshot_dump(snapshot, argv[1]) != 0) {
        perror(argv[1]);
        return 1;
    }
    printf("%zu\n", ouro_sizeof(list));
    ouro_snapshot_free(snapshot);
    ouro_decref(list);
    return 0;
}
