/* base/sched.c: see sched.h.
 *
 * A round's decisions are those points at which more than one thread may be chosen. A search keeps, of each decision, what
 * was chosen and how many there were; the next schedule is the same up to the last decision that has another choice left.
 */
#include "base/sched.h"

#include "base/base.h"

#if OURO_SCHED

#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

enum { STEPS_MAX = 20000, DECISIONS_MAX = STEPS_MAX, SWITCHES_MAX = STEPS_MAX, NOBODY = OUROI_SCHED_THREADS };

enum task { REST, BEFORE, BODY, AFTER, STOP };
enum status { READY, WAITING, WAITING_FOR_TIME, DONE };

static struct member {
    pthread_t pthread;
    sem_t baton;
    enum task task;
    enum status status;
    const uint32_t *word; /* what it waits for */
    uint64_t priority;    /* random: the highest runs */
} members[OUROI_SCHED_THREADS];

static struct decision {
    uint8_t chosen, options;
} decisions[DECISIONS_MAX];

static struct place {
    unsigned step, thread;
} switches[SWITCHES_MAX], replayed[SWITCHES_MAX];

static enum strategy { SEARCH, RANDOM, REPLAY } strategy;
static const struct ouroi_scenario *scenario;
static sem_t caller;
static bool in_bodies;
static unsigned step, preemptions, switch_count, replayed_count;
static unsigned decision_count, prefix;
static bool diverged;
static uint64_t seed, random_state, lowest_priority;
static unsigned changes[16], change_count;
static __thread unsigned self __attribute__((tls_model("initial-exec"))) = NOBODY;

static void write_text(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        return;
}

void ouroi_sched_print(void)
{
    char text[256];
    if (!in_bodies)
        return;
    if (strategy == RANDOM) {
        ouroi_format(text, sizeof text, "seed %lu; ", (unsigned long)seed);
        write_text(text);
    }
    write_text("schedule \"");
    for (unsigned i = 0; i < switch_count; i++) {
        ouroi_format(text, sizeof text, "%s%u:%u", i > 0 ? " " : "", switches[i].step, switches[i].thread);
        write_text(text);
    }
    ouroi_format(text, sizeof text, "\" of scenario %s, at step %u", scenario->name, step);
    write_text(text);
    write_text("\n");
}

void ouroi_sched_fail(const char *what)
{
    ouroi_warn("%s: %s", scenario->name, what);
    ouroi_sched_print();
    _exit(1);
}

static void post(sem_t *semaphore)
{
    OURO_CHECK(sem_post(semaphore) == 0);
}

static void await(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0) {
        /* a signal */
    }
}

/* The threads that may run next, the default first. from: the one that runs, NOBODY at the start. */
static unsigned list_options(unsigned from, bool can_go_on, unsigned options[OUROI_SCHED_THREADS])
{
    unsigned count = 0;
    if (can_go_on)
        options[count++] = from;
    for (unsigned i = 0; i < scenario->threads; i++)
        if (members[i].status == READY && i != from)
            options[count++] = i;
    return count;
}

static unsigned choose_in_search(const unsigned *options, unsigned count, bool can_go_on)
{
    if (can_go_on && preemptions >= scenario->preemptions)
        count = 1;
    if (count == 1)
        return options[0];
    struct decision *decision = &decisions[decision_count];
    if (decision_count++ >= prefix)
        *decision = (struct decision){ .chosen = 0, .options = (uint8_t)count };
    if (decision->options != count) {
        diverged = true;
        decision->options = (uint8_t)count;
        if (decision->chosen >= count)
            decision->chosen = 0;
    }
    return options[decision->chosen];
}

static unsigned choose_by_priority(const unsigned *options, unsigned count, unsigned from, bool can_go_on)
{
    for (unsigned i = 0; i < change_count; i++)
        if (changes[i] == step && from != NOBODY)
            members[from].priority = --lowest_priority;
    if (from != NOBODY && !can_go_on)
        members[from].priority = --lowest_priority; /* it yields, or waits */
    unsigned best = options[0];
    for (unsigned i = 1; i < count; i++)
        if (members[options[i]].priority > members[best].priority)
            best = options[i];
    return best;
}

static unsigned choose_as_written(const unsigned *options, unsigned count)
{
    for (unsigned i = 0; i < replayed_count; i++) {
        if (replayed[i].step != step)
            continue;
        for (unsigned k = 0; k < count; k++)
            if (options[k] == replayed[i].thread)
                return options[k];
        diverged = true;
    }
    return options[0];
}

/* Who runs next; NOBODY: all are done. */
static unsigned choose(unsigned from, bool can_go_on)
{
    unsigned options[OUROI_SCHED_THREADS], next;
    unsigned count = list_options(from, can_go_on, options);
    if (count == 0 && from != NOBODY && members[from].status == READY)
        return from; /* it yields to nobody */
    bool all_done = true;
    for (unsigned i = 0; count == 0 && i < scenario->threads; i++) {
        all_done = all_done && members[i].status == DONE;
        if (members[i].status == WAITING_FOR_TIME) {
            members[i].status = READY;
            options[count++] = i;
        }
    }
    if (count == 0) {
        if (all_done)
            return NOBODY;
        ouroi_sched_fail("deadlock: every thread that is not done waits");
    }
    if (strategy == SEARCH)
        next = choose_in_search(options, count, can_go_on);
    else if (strategy == RANDOM)
        next = choose_by_priority(options, count, from, can_go_on);
    else
        next = choose_as_written(options, count);
    if (can_go_on && next != from)
        preemptions++;
    if (next != options[0])
        switches[switch_count++] = (struct place){ step, next };
    return next;
}

/* Gives the baton to whoever is next, and comes back with it, unless the caller is done. */
static void pass_on(unsigned from, bool can_go_on)
{
    if (++step >= STEPS_MAX)
        ouroi_sched_fail("livelock: more steps than a round may have");
    unsigned next = choose(from, can_go_on);
    if (next == from)
        return;
    bool is_done = members[from].status == DONE;
    post(next == NOBODY ? &caller : &members[next].baton);
    if (!is_done)
        await(&members[from].baton);
}

void ouroi_sched_point(const void *address, const char *file)
{
    unsigned from = self;
    if (OUROI_LIKELY(from == NOBODY) || (scenario->look != NULL && !scenario->look(from, address, file)))
        return;
    pass_on(from, true);
}

bool ouroi_sched_wait(uint32_t *word, uint32_t value, bool has_timeout)
{
    unsigned from = self;
    if (from == NOBODY)
        return false;
    if (OUROI_OWNED_GET(word) != value) /* with the point before it */
        return true;
    members[from].word = word;
    members[from].status = has_timeout ? WAITING_FOR_TIME : WAITING;
    pass_on(from, false);
    return true;
}

bool ouroi_sched_wake(uint32_t *word, unsigned count)
{
    unsigned from = self;
    if (from == NOBODY)
        return false;
    ouroi_sched_point(word, __FILE__);
    for (unsigned i = 0; i < scenario->threads && count > 0; i++) {
        struct member *member = &members[i];
        if ((member->status == WAITING || member->status == WAITING_FOR_TIME) && member->word == word) {
            member->status = READY;
            count--;
        }
    }
    return true;
}

bool ouroi_sched_yield(void)
{
    unsigned from = self;
    if (from == NOBODY)
        return false;
    pass_on(from, false);
    return true;
}

/* The threads of a scenario. */

static void run_body(unsigned index)
{
    self = index;
    scenario->body(index);
    members[index].status = DONE;
    self = NOBODY;
    pass_on(index, false);
}

static void *run_member(void *arg)
{
    struct member *member = arg;
    unsigned index = (unsigned)(member - members);
    for (;;) {
        await(&member->baton);
        if (member->task == STOP)
            return NULL;
        if (member->task == BODY) {
            run_body(index);
            continue;
        }
        void (*work)(unsigned) = member->task == BEFORE ? scenario->before : scenario->after;
        if (work != NULL)
            work(index);
        post(&caller);
    }
}

static void begin_scenario(const struct ouroi_scenario *of, enum strategy how)
{
    OURO_CHECK(of->threads > 0 && of->threads <= OUROI_SCHED_THREADS);
    scenario = of;
    strategy = how;
    prefix = 0;
    OURO_CHECK(sem_init(&caller, 0, 0) == 0);
    for (unsigned i = 0; i < of->threads; i++) {
        OURO_CHECK(sem_init(&members[i].baton, 0, 0) == 0);
        OURO_CHECK(pthread_create(&members[i].pthread, NULL, run_member, &members[i]) == 0);
    }
}

static void end_scenario(void)
{
    for (unsigned i = 0; i < scenario->threads; i++) {
        members[i].task = STOP;
        post(&members[i].baton);
        OURO_CHECK(pthread_join(members[i].pthread, NULL) == 0);
    }
}

static void have_done(unsigned index, enum task task)
{
    members[index].task = task;
    post(&members[index].baton);
    await(&caller);
}

static void run_round(struct ouroi_sched_result *result)
{
    step = preemptions = switch_count = decision_count = 0;
    diverged = false;
    if (scenario->begin != NULL)
        scenario->begin();
    for (unsigned i = 0; i < scenario->threads; i++)
        have_done(i, BEFORE);
    for (unsigned i = 0; i < scenario->threads; i++) {
        members[i].task = BODY;
        members[i].status = READY;
    }
    in_bodies = true;
    post(&members[choose(NOBODY, false)].baton);
    await(&caller);
    if (scenario->done != NULL)
        scenario->done();
    for (unsigned i = scenario->threads; i-- > 0;)
        have_done(i, AFTER);
    if (scenario->end != NULL)
        scenario->end();
    in_bodies = false;
    result->schedules++;
    result->diverged += diverged;
    result->steps_max = step > result->steps_max ? step : result->steps_max;
}

/* Makes the decisions those of the next schedule; false: there is none. */
static bool step_on(void)
{
    while (decision_count > 0) {
        struct decision *last = &decisions[decision_count - 1];
        if (++last->chosen < last->options) {
            prefix = decision_count;
            return true;
        }
        decision_count--;
    }
    return false;
}

struct ouroi_sched_result ouroi_sched_search(const struct ouroi_scenario *of, uint64_t limit)
{
    struct ouroi_sched_result result = { .schedules = 0 };
    begin_scenario(of, SEARCH);
    while (result.schedules < limit && !result.complete) {
        run_round(&result);
        result.complete = !step_on();
    }
    end_scenario();
    return result;
}

struct ouroi_sched_result ouroi_sched_random(const struct ouroi_scenario *of, uint64_t first_seed, uint64_t count,
                                             unsigned places)
{
    struct ouroi_sched_result result = { .steps_max = 100 }; /* a first guess of a round's length */
    begin_scenario(of, RANDOM);
    change_count = places < sizeof changes / sizeof changes[0] ? places : sizeof changes / sizeof changes[0];
    for (uint64_t i = 0; i < count; i++) {
        seed = random_state = first_seed + i;
        lowest_priority = (uint64_t)1 << 32;
        for (unsigned k = 0; k < of->threads; k++)
            members[k].priority = lowest_priority + (ouroi_random_next(&random_state) >> 32);
        for (unsigned k = 0; k < change_count; k++)
            changes[k] = 1 + (unsigned)(ouroi_random_next(&random_state) % result.steps_max);
        run_round(&result);
    }
    end_scenario();
    return result;
}

struct ouroi_sched_result ouroi_sched_replay(const struct ouroi_scenario *of, const char *schedule)
{
    struct ouroi_sched_result result = { .schedules = 0 };
    struct place place = { 0, 0 };
    unsigned *number = &place.step;
    begin_scenario(of, REPLAY);
    for (const char *at = schedule;; at++) {
        if (*at >= '0' && *at <= '9') {
            *number = *number * 10 + (unsigned)(*at - '0');
        } else if (*at == ':') {
            number = &place.thread;
        } else {
            if (number == &place.thread && replayed_count < SWITCHES_MAX)
                replayed[replayed_count++] = place;
            place = (struct place){ 0, 0 };
            number = &place.step;
        }
        if (*at == '\0')
            break;
    }
    run_round(&result);
    end_scenario();
    return result;
}

#else
typedef int ouroi_no_scheduler;
#endif
