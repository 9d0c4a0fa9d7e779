/* api/weak.h: what the tests of weak references and weak maps share.
 *
 * Every object of `node` has a number; what happens to it is counted outside of it, so that a second death or a reference to
 * the dead is seen and not guessed.
 */
#ifndef API_WEAK_H
#define API_WEAK_H

#include <ouro/weakref.h>

#include <pthread.h>

#include "tests.h"

enum { NODES = 1 << 18 };

struct node {
    ouro_object base;
    ouro_object *ref;
    unsigned number;
};

/* How often each has died. */
extern uint8_t deaths[NODES];
extern unsigned next_number;
extern void (*on_finalize)(struct node *node);
extern void (*on_clear)(struct node *node);
extern void (*on_destroy)(struct node *node);

/* With all that a type can have, and with nothing but destroy. */
extern ouro_type node_type, leaf_type;

struct node *new_of(ouro_type *type);
struct node *new_node(void);
unsigned deaths_of(unsigned number);
void node_destroy(ouro_object *self);

/* Pass safepoints until the object, or all, died: what other threads dropped more than they took comes through then. */
void await_death(unsigned number);
void await_all_deaths(void);
void join(pthread_t thread);

ouro_weakmap *new_map(void);
void set(ouro_weakmap *map, void *key, void *value);
/* Stores a value that only the map holds from then on; its number. */
unsigned set_new(ouro_weakmap *map, void *key);
void assert_value(ouro_weakmap *map, void *key, const void *value);

size_t random_below(size_t n);

/* Callbacks that do nothing, or add one to an unsigned number. */
void nothing(ouro_weakref *ref, void *arg);
void add_one(void *arg);

/* The calls of note_call, whose argument is the address of one of `freed`. */
enum { LOG = 64 };
extern struct record {
    ouro_weakref *refs[LOG]; /* the program's */
    size_t calls[LOG];       /* arguments, in the order of the calls */
    size_t call_count;
    unsigned freed[LOG];
    unsigned number; /* of the object */
} record;
void note_call(ouro_weakref *ref, void *arg);
/* A new object, and nothing recorded. */
struct node *start_record(void);

int reset(void **state);
#define WEAK_TEST(function) cmocka_unit_test_setup_teardown(function, reset, heap_is_sound)

#endif
