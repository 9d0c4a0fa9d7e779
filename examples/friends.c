/* examples/friends.c: two people who are each other's friends, and whom nobody else knows any more. */
#include <stdio.h>

#include <ouro/ouro.h>

struct person {
    ouro_object header;
    const char *name;
    struct person *friend_;
};

static void say_goodbye(ouro_object *self)
{
    printf("%s is gone\n", ((struct person *)self)->name);
}

static ouro_type person_type = OURO_TYPE(struct person, OURO_REFS(struct person, friend_), .destroy = say_goodbye);

static struct person *new_person(const char *name)
{
    struct person *person = ouro_new(&person_type);
    if (person != NULL)
        person->name = name;
    return person;
}

int main(void)
{
    struct person *alice = new_person("Alice"), *bob = new_person("Bob");
    if (alice == NULL || bob == NULL)
        return 1;
    alice->friend_ = ouro_newref(bob);
    bob->friend_ = ouro_newref(alice);
    printf("Alice has %zu references, Bob %zu\n", ouro_refcount(alice), ouro_refcount(bob));

    ouro_decref(alice);
    ouro_decref(bob);
    printf("nobody knows them, but they know each other\n");

    printf("the collector found %ld\n", ouro_gc_collect(2));
    printf("and then %ld\n", ouro_gc_collect(2));
    return 0;
}
