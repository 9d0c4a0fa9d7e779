/* kvserver/pubsub.c: channels and subscriptions.
 *
 * A subscription refers to its client and its channel, and both refer to it: cycles on purpose. A client that goes is
 * taken out of the channels, which must not post to it; client and subscriptions, which still refer to each other, are
 * the collector's.
 */
#include <stdio.h>
#include <string.h>

#include "kv.h"
#include "table.h"

struct subscription {
    ouro_object base;
    struct client *client;
    struct channel *channel;
    struct subscription *next, *previous; /* in the channel */
    struct subscription *next_of_client;
};
struct channel {
    ouro_object base;
    struct string *name;
    struct subscription *first;
};

static ouro_type subscription_type =
    OURO_TYPE(struct subscription, OURO_REFS(struct subscription, client, channel, next, previous, next_of_client));
static ouro_type channel_type = OURO_TYPE(struct channel, OURO_REFS(struct channel, name, first));

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* all of this; taken by kv_lock */
static struct pairs *channels;                           /* by name */
static size_t channel_count;

static struct channel *channel_of(struct string *name)
{
    struct channel *channel = table_get(channels, name);
    if (channel != NULL)
        return channel;
    channel = ouro_new(&channel_type);
    if (channel == NULL)
        return NULL;
    channel->name = ouro_newref(name);
    int added = table_set(&channels, channel_count, name, channel);
    ouro_decref(channel); /* the table has it now */
    if (added < 0)
        return NULL;
    channel_count++;
    return channel;
}

static struct subscription **find(struct client *client, const struct string *name)
{
    struct subscription **at = &client->subscriptions;
    while (*at != NULL && !string_equal((*at)->channel->name, name))
        at = &(*at)->next_of_client;
    return at;
}

/* No message comes by it any more. */
static void leave_channel(struct subscription *s)
{
    struct channel *channel = s->channel;
    if (s->next != NULL)
        OURO_SETREF(s->next->previous, ouro_xnewref(s->previous));
    OURO_SETREF(*(s->previous != NULL ? &s->previous->next : &channel->first), ouro_xnewref(s->next));
    OURO_CLEAR(s->next);
    OURO_CLEAR(s->previous);
    if (channel->first == NULL && table_delete(channels, channel->name))
        channel_count--;
}

static void confirm(struct client *client, const char *kind, struct string *channel)
{
    reply_array(&client->out, 3);
    reply_bulk(&client->out, kind, strlen(kind));
    reply_value(&client->out, channel);
    reply_number(&client->out, (long long)client->subscription_count);
}

static bool subscribe(struct client *client, struct string *name)
{
    if (*find(client, name) != NULL)
        return true;
    struct channel *channel = channel_of(name);
    struct subscription *s = channel == NULL ? NULL : ouro_new(&subscription_type);
    if (s == NULL)
        return false;
    s->client = ouro_newref(client);
    s->channel = ouro_newref(channel);
    s->next = channel->first; /* the channel's reference moves */
    if (s->next != NULL)
        s->next->previous = ouro_newref(s);
    channel->first = ouro_newref(s);
    s->next_of_client = client->subscriptions;
    client->subscriptions = s;
    client->subscription_count++;
    return true;
}

void pubsub_subscribe(struct client *client, struct string *channel)
{
    kv_lock(&lock);
    bool done = subscribe(client, channel);
    pthread_mutex_unlock(&lock);
    if (done)
        confirm(client, "subscribe", channel);
    else
        reply_error(&client->out, "ERR out of memory");
}

static void unsubscribe(struct client *client, struct subscription **at)
{
    struct subscription *s = *at;
    leave_channel(s);
    *at = OURO_MOVE(s->next_of_client); /* the client's reference is ours now */
    client->subscription_count--;
    ouro_decref(s);
}

void pubsub_unsubscribe(struct client *client, struct string *channel)
{
    do {
        struct string *name = ouro_xnewref(channel);
        kv_lock(&lock);
        struct subscription **at = channel != NULL ? find(client, channel) : &client->subscriptions;
        if (*at != NULL) {
            OURO_SETREF(name, ouro_newref((*at)->channel->name));
            unsubscribe(client, at);
        }
        pthread_mutex_unlock(&lock);
        confirm(client, "unsubscribe", name);
        ouro_xdecref(name);
    } while (channel == NULL && client->subscriptions != NULL);
}

void pubsub_leave(struct client *client)
{
    if (client->subscriptions == NULL)
        return;
    kv_lock(&lock);
    for (struct subscription *s = client->subscriptions; s != NULL; s = s->next_of_client)
        leave_channel(s);
    pthread_mutex_unlock(&lock);
#ifdef KV_ATOMIC_COUNTS
    for (struct subscription *s = client->subscriptions; s != NULL; s = s->next_of_client)
        OURO_CLEAR(s->client); /* the list holds the client until it is closed */
    OURO_CLEAR(client->subscriptions);
#endif
}

/* The same bytes go to all: one string, referred to by every client that has still to be sent it. */
static struct string *render(const struct string *channel, const struct string *message)
{
    char head[96], middle[32];
    int a = snprintf(head, sizeof head, "*3\r\n$7\r\nmessage\r\n$%zu\r\n", channel->length);
    int b = snprintf(middle, sizeof middle, "\r\n$%zu\r\n", message->length);
    size_t length = (size_t)a + channel->length + (size_t)b + message->length + 2;
    char *text = ouro_malloc(length), *to = text;
    if (text == NULL)
        return NULL;
    memcpy(to, head, (size_t)a);
    to += a;
    memcpy(to, channel->bytes, channel->length);
    to += channel->length;
    memcpy(to, middle, (size_t)b);
    to += b;
    memcpy(to, message->bytes, message->length);
    memcpy(to + message->length, "\r\n", 2);
    struct string *rendered = string_new(text, length);
    ouro_free(text);
    return rendered;
}

size_t pubsub_publish(struct string *channel, struct string *message)
{
    struct string *rendered = render(channel, message);
    if (rendered == NULL)
        return 0;
    size_t count = 0;
    kv_lock(&lock);
    struct channel *found = table_get(channels, channel);
    for (struct subscription *s = found == NULL ? NULL : found->first; s != NULL; s = s->next) {
        client_post(s->client, rendered);
        count++;
    }
    pthread_mutex_unlock(&lock);
    ouro_decref(rendered);
    atomic_fetch_add(&counters.messages, count);
    return count;
}
