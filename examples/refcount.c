/* examples/refcount.c: counts go up with an alias and down when it is dropped. Python's sys.getrefcount counts its own argument
 * too; here a list takes the place of that. */
#include <stdio.h>

#include <ouro/ouro.h>

struct value {
    ouro_object header;
    int number;
};
struct list {
    ouro_object header;
    ouro_object *items[];
};

static void gone(ouro_object *self)
{
    printf("%d is freed\n", ((struct value *)self)->number);
}

static ouro_type value_type = OURO_TYPE(struct value, .destroy = gone);
static ouro_type list_type = OURO_TYPE_SIZED(struct list, offsetof(struct list, items),
                                             .item_size = sizeof(ouro_object *), .items_are_refs = true);

int main(void)
{
    struct value *value = ouro_new(&value_type);
    struct list *list = ouro_new_items(&list_type, 1);
    if (value == NULL || list == NULL)
        return 1;
    value->number = 42;
    list->items[0] = ouro_newref(value);
    printf("a name and a list: %zu\n", ouro_refcount(value));
    struct value *alias = ouro_newref(value);
    printf("an alias: %zu\n", ouro_refcount(value));
    OURO_CLEAR(alias);
    printf("the alias deleted: %zu\n", ouro_refcount(value));
    OURO_CLEAR(value);
    printf("the name deleted; the list still has %d\n", ((struct value *)list->items[0])->number);
    ouro_decref(list);
    return 0;
}
