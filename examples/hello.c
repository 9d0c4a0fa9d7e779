/* examples/hello.c: the smallest program with objects: a type, an object, a reference that is dropped. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ouro/ouro.h>

/* An object is a struct whose first member is its header. */
struct greeting {
    ouro_object base;
    char *text; /* no object: released in destroy */
};

static void greeting_destroy(ouro_object *self)
{
    struct greeting *greeting = (struct greeting *)self;
    printf("freed: %s\n", greeting->text);
    free(greeting->text);
}

/* Its type: name and size by the macro, then what is to be done when it dies. */
static ouro_type greeting_type = OURO_TYPE(struct greeting, .destroy = greeting_destroy);

static struct greeting *greeting_new(const char *text)
{
    struct greeting *greeting = ouro_new(&greeting_type); /* one reference, all zero; NULL: no memory */
    if (greeting != NULL && (greeting->text = strdup(text)) == NULL) {
        ouro_decref(greeting);
        return NULL;
    }
    return greeting;
}

int main(void)
{
    struct greeting *hello = greeting_new("hello, objects");
    if (hello == NULL)
        return 1;
    struct greeting *same = ouro_newref(hello); /* a second reference to the same object */
    printf("%s; a %s of %zu bytes, %zu references\n", same->text, ouro_typeof(hello)->name, ouro_sizeof(hello),
           ouro_refcount(hello));
    ouro_decref(hello);
    printf("one reference left\n");
    ouro_decref(same); /* the last: freed before this returns */

    /* Dropped at the end of its scope, however that is left. */
    OURO_AUTO struct greeting *scoped = greeting_new("goodbye");
    return scoped == NULL;
}
