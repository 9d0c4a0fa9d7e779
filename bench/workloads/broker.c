/* workloads/broker.c: a message broker: publishers make messages, each goes to several subscribers, the last of them frees it.
 *
 * Owns        rings with deliveries from publishers to subscribers and with receipts back.
 * Invariants  a message lives until its last delivery was read; a delivery is freed by the subscriber, a receipt by the publisher.
 * Sync        the rings', and [MESSAGE drop] for the count.
 * Source      none
 */
#include "loads.h"
#include "ring.h"
#include "sizes.h"
#include "stamp.h"

enum { BROKER_FAN_OUT = 3, BROKER_RECEIPT_EVERY = 4 };

struct message {
    atomic_uint deliveries;
    void *payload;
    char *topic;
};

struct delivery {
    struct message *message;
    uint64_t number;
    char subscriber[24];
};

struct broker {
    unsigned publishers;
    unsigned subscribers;
    struct ouroi_ring *deliveries; /* [publisher * subscribers + subscriber] */
    struct ouroi_ring *receipts;   /* the same pairs, the other way */
    struct ouroi_sizes sizes;
};

static void message_drop(struct message *message)
{
    /* [MESSAGE drop] acquire and release, pairs with itself: the last sees what the others did with the message */
    if (atomic_fetch_sub_explicit(&message->deliveries, 1, memory_order_acq_rel) != 1)
        return;
    ouroi_stamp_free(message->payload);
    ouroi_stamp_free(message->topic);
    free(message);
}

/* The publisher's side of the receipts; true when a subscriber has said that it is done. */
static unsigned publisher_poll(struct broker *broker, unsigned index)
{
    unsigned closed = 0;
    for (unsigned from = 0; from < broker->subscribers; from++) {
        void *receipt;
        while ((receipt = ouroi_ring_try_pop(&broker->receipts[index * broker->subscribers + from])) != NULL) {
            if (receipt == ouroi_ring_closed)
                closed++;
            else
                ouroi_stamp_free(receipt);
        }
    }
    return closed;
}

static void publisher_send(struct broker *broker, unsigned index, unsigned to, void *item)
{
    unsigned turns = 0;
    while (!ouroi_ring_try_push(&broker->deliveries[index * broker->subscribers + to], item)) {
        publisher_poll(broker, index);
        ouroi_ring_wait(&turns);
    }
}

static void publisher_run(struct broker *broker, unsigned index, uint64_t seed, uint64_t ops)
{
    struct ouroi_rand rand = ouroi_rand_seed(seed);
    unsigned fan_out = broker->subscribers < BROKER_FAN_OUT ? broker->subscribers : BROKER_FAN_OUT;
    for (uint64_t i = 0; i < ops; i++) {
        struct message *message = ouroi_must(malloc(sizeof *message));
        message->payload = ouroi_stamp_malloc(ouroi_sizes_draw(&broker->sizes, &rand));
        message->topic = ouroi_stamp_malloc(ouroi_rand_between(&rand, 12, 48));
        atomic_init(&message->deliveries, fan_out);
        uint32_t to = ouroi_rand_below(&rand, broker->subscribers);
        for (unsigned copy = 0; copy < fan_out; copy++) {
            struct delivery *delivery = ouroi_must(malloc(sizeof *delivery));
            delivery->message = message;
            delivery->number = i;
            publisher_send(broker, index, (to + copy) % broker->subscribers, delivery);
        }
        publisher_poll(broker, index);
    }
    for (unsigned to = 0; to < broker->subscribers; to++)
        publisher_send(broker, index, to, ouroi_ring_closed);
    unsigned turns = 0;
    for (unsigned closed = 0; closed < broker->subscribers; ouroi_ring_wait(&turns))
        closed += publisher_poll(broker, index);
}

static void subscriber_take(struct broker *broker, unsigned index, unsigned from, struct delivery *delivery)
{
    if (ouroi_stamp_check(delivery->message->payload) < OUROI_STAMP_MIN)
        ouroi_bench_die("a payload of no size");
    message_drop(delivery->message);
    if (delivery->number % BROKER_RECEIPT_EVERY == 0)
        ouroi_ring_push(&broker->receipts[from * broker->subscribers + index], ouroi_stamp_malloc(40));
    free(delivery);
}

static void subscriber_run(struct broker *broker, unsigned index)
{
    unsigned turns = 0;
    for (unsigned open = broker->publishers; open > 0;) {
        bool idle = true;
        for (unsigned from = 0; from < broker->publishers; from++) {
            void *item;
            for (unsigned got = 0; got < 64; got++, idle = false) {
                item = ouroi_ring_try_pop(&broker->deliveries[from * broker->subscribers + index]);
                if (item == NULL)
                    break;
                if (item != ouroi_ring_closed) {
                    subscriber_take(broker, index, from, item);
                    continue;
                }
                open--;
                ouroi_ring_push(&broker->receipts[from * broker->subscribers + index], ouroi_ring_closed);
            }
        }
        turns = idle ? turns : 0;
        if (idle)
            ouroi_ring_wait(&turns);
    }
}

static void broker_member(struct ouroi_member *member)
{
    struct broker *broker = member->shared;
    if (member->index < broker->publishers)
        publisher_run(broker, member->index, member->seed, member->job->ops / broker->publishers + 1);
    else
        subscriber_run(broker, member->index - broker->publishers);
}

void ouroi_broker_run(const struct ouroi_job *job)
{
    static struct broker broker;
    broker.publishers = job->threads / 2;
    broker.subscribers = job->threads - broker.publishers;
    broker.deliveries = ouroi_ring_mesh_new(broker.publishers, broker.subscribers, OUROI_RING_SLOTS);
    broker.receipts = ouroi_ring_mesh_new(broker.publishers, broker.subscribers, OUROI_RING_SLOTS);
    ouroi_sizes_lognormal(&broker.sizes, job->seed, 250, 1.4, 32, 16 << 10);
    ouroi_team_run(job, job->threads, job->ops, broker_member, &broker);
    ouroi_ring_mesh_free(broker.receipts, broker.publishers, broker.subscribers);
    ouroi_ring_mesh_free(broker.deliveries, broker.publishers, broker.subscribers);
}
