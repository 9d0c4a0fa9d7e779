/* stress/graph.h: objects whose references are counted a second time, outside of them.
 *
 * Owns        a shadow for each object, in libc's memory: how many references exist, whether it has died.
 * Invariants  a node refers to nodes of lower level only: no cycles, so that all die by their counts.
 *             shadow.references goes up after a reference was taken, and down before it is dropped; so it is 0 where an object
 *             dies, and, when every thread rests, it is the count; 0 then means that the object is dead.
 * Sync        shadows are changed by atomic operations, relaxed: the threads' meeting orders them for the checker.
 */
#ifndef STRESS_GRAPH_H
#define STRESS_GRAPH_H

#include "stress.h"

enum { NODE_SLOTS = 3, MAX_LEVEL = 5 };
#define NODE_MAGIC UINT64_C(0x6f75726f6e6f6465)

struct shadow {
    _Atomic int64_t references;
    _Atomic int deaths, finalized;
    struct node *node;
    struct shadow *next; /* of those that its maker has */
};

struct node {
    ouro_object base;
    uint64_t magic;
    struct shadow *shadow;
    unsigned level;
    bool settled;                /* the shadows of what it refers to know that it dies */
    struct node *fixed[2];       /* set when it is made */
    ouro_slot slots[NODE_SLOTS]; /* changed by whoever holds the node */
};

/* What a thread of such a program has. */
struct hand {
    struct random random;
    struct shadow *shadows; /* of nodes that it made, newest first */
    void *held[48];         /* references: nodes, bundles */
};

/* One random operation. */
void hand_step(struct hand *hand);
void hand_drop_all(struct hand *hand);
/* Leaves the hand's shadows for graph_check. */
void hand_done(struct hand *hand);
/* Drops one in `one_in` of what is held. */
void hand_thin(struct hand *hand, unsigned one_in);

/* Workers with a hand each, that step, and do `between` every hundred steps; all is checked every `check_ms`. At the end
 * everything must be dead. */
void graph_run(void (*between)(struct hand *hand, unsigned index), unsigned check_ms);
/* With every thread at rest: each count against its shadow. Shadows of the dead are freed. hands: of the workers. */
void graph_check(struct hand *hands, size_t count);
/* At the end, with no hand left: empties the places where references are passed on; everything must be dead. */
void graph_finish(void);
/* Nodes and bundle leaves made so far. */
uint64_t graph_made(void);

#endif
