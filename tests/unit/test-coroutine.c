/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutines: entering and yielding, wake chains, the pool, moving between
 * threads, misuse; mutexes, queues, reader-writer locks and sleeping.
 */
#include "qemu/osdep.h"
#include "qemu/aio.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/coroutine_int.h"
#include "qemu/coroutine-tls.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

static GString *order;

static void poll_until(int *counter, int value)
{
    while (qatomic_read(counter) < value) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

static void coroutine_fn yield_thrice(void *opaque)
{
    int *count = opaque;
    int i;

    g_assert_true(qemu_in_coroutine());
    for (i = 0; i < 3; i++) {
        (*count)++;
        qemu_coroutine_yield();
    }
    (*count)++;
}

static void test_yield(void)
{
    int count = 0, i;
    Coroutine *co = qemu_coroutine_create(yield_thrice, &count);

    g_assert_false(qemu_in_coroutine());
    for (i = 1; i <= 4; i++) {
        g_assert_false(qemu_coroutine_entered(co));
        qemu_coroutine_enter_if_inactive(co);
        g_assert_cmpint(count, ==, i);
    }
    g_assert_false(qemu_in_coroutine());
}

typedef struct {
    Coroutine *outer, *self;
    int depth;
} Nest;

static void coroutine_fn nest(void *opaque)
{
    Nest *n = opaque;
    Nest inner = { .outer = qemu_coroutine_self(), .depth = n->depth - 1 };

    n->self = qemu_coroutine_self();
    g_assert_true(n->self != n->outer);
    g_assert_true(qemu_coroutine_entered(n->self));
    g_assert_true(qemu_coroutine_get_aio_context(n->self) ==
                  qemu_get_current_aio_context());
    if (n->depth > 0) {
        qemu_coroutine_enter(qemu_coroutine_create(nest, &inner));
        g_assert_true(qemu_coroutine_self() == n->self);
    }
}

static void test_nesting(void)
{
    Nest n = { .outer = qemu_coroutine_self(), .depth = 200 };

    qemu_coroutine_enter(qemu_coroutine_create(nest, &n));
    g_assert_true(qemu_coroutine_self() == n.outer);
}

/* The registers and the stack must survive, whatever others do to theirs. */
static void coroutine_fn compute(void *opaque)
{
    uint64_t *sum = opaque;
    uint64_t a = *sum, b = a * 3, c = a * 5, d = a * 7, e = a * 11;
    double f = a * 0.5, g = a * 0.25;
    char page[4096];
    int i;

    memset(page, (char)a, sizeof(page));
    for (i = 0; i < 1000; i++) {
        a += b ^ c;
        b += c ^ d;
        c += d ^ e;
        d += e ^ a;
        e += (uint64_t)(f + g) % 1000;
        f = f * 0.5 + i;
        g = g * 0.25 + page[i * 4];
        if (sum[1]) {
            qemu_coroutine_yield();
        }
    }
    sum[0] = a ^ b ^ c ^ d ^ e ^ (uint64_t)f ^ (uint64_t)g;
    sum[1] = 0;
}

static void test_state(void)
{
    uint64_t expect[8][2], got[8][2];
    Coroutine *co[8];
    int i, j;

    for (i = 0; i < 8; i++) {
        expect[i][0] = got[i][0] = i + 1;
        expect[i][1] = 0;
        got[i][1] = 1;
        qemu_coroutine_enter(qemu_coroutine_create(compute, expect[i]));
        co[i] = qemu_coroutine_create(compute, got[i]);
    }
    for (j = 0; j <= 1000; j++) {
        for (i = 0; i < 8; i++) {
            qemu_coroutine_enter(co[i]);
        }
    }
    for (i = 0; i < 8; i++) {
        g_assert_cmpuint(got[i][1], ==, 0);
        g_assert_cmpuint(got[i][0], ==, expect[i][0]);
    }
}

/* One link of a chain wakes the next one and makes room for it. */
#define CHAIN_LENGTH 1000000
#define CHAIN_MEMBERS 64

static struct {
    Coroutine *root;            /* who began, outside of coroutines */
    Coroutine *co[CHAIN_MEMBERS];
    int links, ended;
} chain;

static void coroutine_fn chain_link(void *opaque)
{
    int i = GPOINTER_TO_INT(opaque);
    int next = (i + 1) % CHAIN_MEMBERS;

    for (;;) {
        g_assert_true(qemu_coroutine_self()->caller == chain.root);
        if (chain.links >= CHAIN_LENGTH) {
            break;
        }
        chain.links++;
        aio_co_wake(chain.co[next]);
        qemu_coroutine_yield();
    }
    chain.ended++;
    if (chain.ended < CHAIN_MEMBERS) {
        aio_co_wake(chain.co[next]);
    }
}

static void coroutine_fn chain_member(void *opaque)
{
    qemu_coroutine_yield();
    chain_link(opaque);
}

/*
 * Were a woken coroutine entered from the one that wakes it, that one would
 * be its caller, and a chain of this length would need as many stacks.
 */
static void test_wake_chain(void)
{
    int i;

    memset(&chain, 0, sizeof(chain));
    chain.root = qemu_coroutine_self();
    for (i = 0; i < CHAIN_MEMBERS; i++) {
        chain.co[i] = qemu_coroutine_create(chain_member, GINT_TO_POINTER(i));
        qemu_coroutine_enter(chain.co[i]);
    }
    qemu_coroutine_enter(chain.co[0]);
    g_assert_cmpint(chain.links, ==, CHAIN_LENGTH);
    g_assert_cmpint(chain.ended, ==, CHAIN_MEMBERS);
}

/* The same with coroutines that are born and end on the way. */
static void coroutine_fn chain_born(void *opaque)
{
    int *left = opaque;

    g_assert_true(qemu_coroutine_self()->caller == chain.root);
    if (--*left > 0) {
        aio_co_enter(qemu_get_current_aio_context(),
                     qemu_coroutine_create(chain_born, left));
    }
}

static void test_birth_chain(void)
{
    int left = CHAIN_LENGTH;

    chain.root = qemu_coroutine_self();
    qemu_coroutine_enter(qemu_coroutine_create(chain_born, &left));
    g_assert_cmpint(left, ==, 0);
}

static void coroutine_fn append(void *opaque)
{
    g_string_append(order, opaque);
}

static void coroutine_fn wake_two(void *opaque)
{
    AioContext *ctx = qemu_get_current_aio_context();
    char *names = opaque;

    g_string_append_c(order, names[0]);
    aio_co_enter(ctx, qemu_coroutine_create(append, names + 1));
    aio_co_enter(ctx, qemu_coroutine_create(append, names + 3));
    g_string_append_c(order, names[0]);
}

static void test_wake_order(void)
{
    char names[] = "a1\0" "2";

    order = g_string_new("");
    names[2] = '\0';
    qemu_coroutine_enter(qemu_coroutine_create(wake_two, names));
    g_assert_cmpstr(order->str, ==, "aa12");
    g_string_free(order, true);
}

static void coroutine_fn do_nothing(void *opaque)
{
}

static void test_pool_reuse(void)
{
    Coroutine *first = qemu_coroutine_create(do_nothing, NULL);
    Coroutine *second;

    qemu_coroutine_enter(first);
    second = qemu_coroutine_create(do_nothing, NULL);
    g_assert_true(second == first);
    qemu_coroutine_enter(second);
}

#define MANY 1000

static Coroutine *many[MANY];

static void *enter_many(void *opaque)
{
    int i;

    for (i = 0; i < MANY; i++) {
        qemu_aio_coroutine_enter(qemu_get_aio_context(), many[i]);
    }
    return NULL;
}

/*
 * Ended in another thread, they come back through the global pool.  A used
 * coroutine is known by the context that it ran in; a new one has none.
 */
static void test_pool_overflow(void)
{
    Coroutine *co[MANY];
    QemuThread thread;
    int i, reused = 0;

    qemu_coroutine_inc_pool_size(MANY);
    for (i = 0; i < MANY; i++) {
        many[i] = qemu_coroutine_create(do_nothing, NULL);
    }
    qemu_thread_create(&thread, "enter", enter_many, NULL,
                       QEMU_THREAD_JOINABLE);
    qemu_thread_join(&thread);
    for (i = 0; i < MANY; i++) {
        co[i] = qemu_coroutine_create(do_nothing, NULL);
        reused += qemu_coroutine_get_aio_context(co[i]) != NULL;
    }
    g_assert_cmpint(reused, ==, MANY);
    for (i = 0; i < MANY; i++) {
        qemu_coroutine_enter(co[i]);
    }
    qemu_coroutine_dec_pool_size(MANY);
}

QEMU_DEFINE_STATIC_CO_TLS(int, where)

typedef struct {
    QemuThread thread;
    QemuEvent ready;
    AioContext *ctx;
    int number;
    bool stop;
    int *started;
} Loop;

static void *loop_thread(void *opaque)
{
    Loop *loop = opaque;

    set_where(loop->number);
    loop->ctx = aio_context_new(&error_abort);
    qemu_set_current_aio_context(loop->ctx);
    qemu_event_set(&loop->ready);
    while (!qatomic_read(&loop->stop)) {
        aio_poll(loop->ctx, true);
    }
    return NULL;
}

static void loop_start(Loop *loop, int number)
{
    loop->number = number;
    loop->stop = false;
    qemu_event_init(&loop->ready, false);
    qemu_thread_create(&loop->thread, "loop", loop_thread, loop,
                       QEMU_THREAD_JOINABLE);
    qemu_event_wait(&loop->ready);
}

static void loop_stop(Loop *loop)
{
    qatomic_set(&loop->stop, true);
    aio_notify(loop->ctx);
    qemu_thread_join(&loop->thread);
    qemu_event_destroy(&loop->ready);
    aio_context_unref(loop->ctx);
}

typedef struct {
    Loop loops[2];
    int done;
} Migration;

static void coroutine_fn migrate(void *opaque)
{
    Migration *m = opaque;
    AioContext *home = qemu_get_current_aio_context();
    int i;

    for (i = 0; i < 500; i++) {
        Loop *loop = &m->loops[i % 2];

        aio_co_reschedule_self(loop->ctx);
        g_assert_cmpint(get_where(), ==, loop->number);
        g_assert_cmpint(*get_ptr_where(), ==, loop->number);
        g_assert_true(qemu_get_current_aio_context() == loop->ctx);
        g_assert_true(qemu_in_coroutine());
    }
    aio_co_reschedule_self(home);
    g_assert_cmpint(get_where(), ==, 0);
    qatomic_inc(&m->done);
}

static void test_migration(void)
{
    Migration m = { .done = 0 };
    int i;

    loop_start(&m.loops[0], 1);
    loop_start(&m.loops[1], 2);
    for (i = 0; i < 10; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(migrate, &m));
    }
    poll_until(&m.done, 10);
    loop_stop(&m.loops[0]);
    loop_stop(&m.loops[1]);
}

static void coroutine_fn enter_self(void *opaque)
{
    qemu_coroutine_enter(qemu_coroutine_self());
}

static void test_misuse(void)
{
    if (g_test_subprocess()) {
        const char *which = g_getenv("MISUSE");
        Coroutine *co = qemu_coroutine_create(enter_self, NULL);

        if (!strcmp(which, "yield")) {
            qemu_coroutine_yield();
        } else if (!strcmp(which, "scheduled")) {
            aio_co_schedule(qemu_get_aio_context(), co);
        }
        qemu_coroutine_enter(co);
        return;
    }
    g_setenv("MISUSE", "yield", true);
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*yield outside of a coroutine*");
    g_setenv("MISUSE", "scheduled", true);
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*already scheduled*aio_co_schedule*");
    g_setenv("MISUSE", "self", true);
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*cannot enter*current one*");
    g_unsetenv("MISUSE");
}

/* Locks */

static CoMutex co_mutex;
static CoQueue co_queue;
static CoRwlock co_rwlock;

static void coroutine_fn mutex_in_order(void *opaque)
{
    qemu_co_mutex_lock(&co_mutex);
    qemu_co_mutex_assert_locked(&co_mutex);
    g_string_append(order, opaque);
    qemu_coroutine_yield();
    qemu_co_mutex_unlock(&co_mutex);
}

static void test_mutex_fifo(void)
{
    const char *names[] = { "a", "b", "c" };
    Coroutine *co[3];
    int i;

    order = g_string_new("");
    qemu_co_mutex_init(&co_mutex);
    for (i = 0; i < 3; i++) {
        co[i] = qemu_coroutine_create(mutex_in_order, (char *)names[i]);
        qemu_coroutine_enter(co[i]);
        g_assert_cmpstr(order->str, ==, "a");
    }
    qemu_coroutine_enter(co[0]);
    g_assert_cmpstr(order->str, ==, "ab");
    qemu_coroutine_enter(co[1]);
    g_assert_cmpstr(order->str, ==, "abc");
    qemu_coroutine_enter(co[2]);
    g_string_free(order, true);
}

#define LOCK_ROUNDS 20000

typedef struct {
    unsigned long unprotected;
    int ended;
    bool rwlock;
} Contention;

static void coroutine_fn contend_mutex(void *opaque)
{
    Contention *c = opaque;
    int i;

    for (i = 0; i < LOCK_ROUNDS; i++) {
        QEMU_LOCK_GUARD(&co_mutex);
        c->unprotected++;
    }
    qatomic_inc(&c->ended);
    aio_notify(qemu_get_aio_context());
}

static void coroutine_fn contend_rwlock(void *opaque)
{
    Contention *c = opaque;
    unsigned long seen;
    int i;

    for (i = 0; i < LOCK_ROUNDS; i++) {
        if (i % 4 == 0) {
            qemu_co_rwlock_wrlock(&co_rwlock);
            c->unprotected++;
            qemu_co_rwlock_downgrade(&co_rwlock);
        } else {
            qemu_co_rwlock_rdlock(&co_rwlock);
        }
        seen = c->unprotected;
        g_assert_cmpuint(seen, ==, c->unprotected);
        if (i % 4 == 1) {
            qemu_co_rwlock_upgrade(&co_rwlock);
            c->unprotected++;
        }
        qemu_co_rwlock_unlock(&co_rwlock);
    }
    qatomic_inc(&c->ended);
    aio_notify(qemu_get_aio_context());
}

/* Three threads, the main one included, with two coroutines each. */
static void contend(CoroutineEntry *entry, Contention *c)
{
    Loop loops[2];
    int i;

    loop_start(&loops[0], 1);
    loop_start(&loops[1], 2);
    for (i = 0; i < 4; i++) {
        aio_co_schedule(loops[i % 2].ctx, qemu_coroutine_create(entry, c));
    }
    for (i = 0; i < 2; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(entry, c));
    }
    poll_until(&c->ended, 6);
    loop_stop(&loops[0]);
    loop_stop(&loops[1]);
}

static void test_mutex_threads(void)
{
    Contention c = { .ended = 0 };

    qemu_co_mutex_init(&co_mutex);
    contend(contend_mutex, &c);
    g_assert_cmpuint(c.unprotected, ==, 6ul * LOCK_ROUNDS);
}

static void test_rwlock_threads(void)
{
    Contention c = { .ended = 0 };

    qemu_co_rwlock_init(&co_rwlock);
    contend(contend_rwlock, &c);
    g_assert_cmpuint(c.unprotected, ==, 6ul * LOCK_ROUNDS / 2);
}

static void coroutine_fn queue_wait(void *opaque)
{
    qemu_co_mutex_lock(&co_mutex);
    qemu_co_queue_wait(&co_queue, &co_mutex);
    qemu_co_mutex_assert_locked(&co_mutex);
    g_string_append(order, opaque);
    qemu_co_mutex_unlock(&co_mutex);
    qemu_co_queue_wait(&co_queue, NULL);
    g_string_append_c(order, '.');
}

static void coroutine_fn queue_restart(void *opaque)
{
    g_assert_true(qemu_co_queue_next(&co_queue));
    qemu_co_queue_restart_all(&co_queue);
    g_string_append_c(order, '!');
}

static void test_queue(void)
{
    const char *names[] = { "a", "b", "c" };
    QemuMutex mutex;
    int i;

    order = g_string_new("");
    qemu_co_mutex_init(&co_mutex);
    qemu_co_queue_init(&co_queue);
    g_assert_false(qemu_co_enter_next(&co_queue, NULL));
    for (i = 0; i < 3; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(queue_wait,
                                                   (char *)names[i]));
    }
    g_assert_cmpstr(order->str, ==, "");
    qemu_coroutine_enter(qemu_coroutine_create(queue_restart, NULL));
    g_assert_cmpstr(order->str, ==, "!abc");

    qemu_mutex_init(&mutex);
    qemu_mutex_lock(&mutex);
    g_assert_true(qemu_co_enter_next(&co_queue, &mutex));
    g_assert_cmpstr(order->str, ==, "!abc.");
    g_assert_cmpint(qemu_mutex_trylock(&mutex), ==, -EBUSY);
    qemu_mutex_unlock(&mutex);
    qemu_mutex_destroy(&mutex);
    g_assert_false(qemu_co_queue_empty(&co_queue));
    qemu_co_enter_all(&co_queue, NULL);
    g_assert_cmpstr(order->str, ==, "!abc...");
    g_assert_true(qemu_co_queue_empty(&co_queue));
    g_string_free(order, true);
}

static void coroutine_fn rw_reader(void *opaque)
{
    qemu_co_rwlock_rdlock(&co_rwlock);
    g_string_append(order, opaque);
    qemu_coroutine_yield();
    qemu_co_rwlock_unlock(&co_rwlock);
}

static void coroutine_fn rw_writer(void *opaque)
{
    qemu_co_rwlock_wrlock(&co_rwlock);
    g_string_append(order, opaque);
    qemu_coroutine_yield();
    qemu_co_rwlock_downgrade(&co_rwlock);
    g_string_append_c(order, 'd');
    qemu_coroutine_yield();
    qemu_co_rwlock_unlock(&co_rwlock);
}

static void coroutine_fn rw_upgrader(void *opaque)
{
    qemu_co_rwlock_rdlock(&co_rwlock);
    g_string_append(order, opaque);
    qemu_coroutine_yield();
    qemu_co_rwlock_upgrade(&co_rwlock);
    g_string_append_c(order, 'u');
    qemu_co_rwlock_unlock(&co_rwlock);
}

static Coroutine *start(CoroutineEntry *entry, const char *name)
{
    Coroutine *co = qemu_coroutine_create(entry, (char *)name);

    qemu_coroutine_enter(co);
    return co;
}

/* A reader behind a writer waits, even though readers hold the lock. */
static void test_rwlock_fair(void)
{
    Coroutine *r1, *r2, *w, *r3;

    order = g_string_new("");
    qemu_co_rwlock_init(&co_rwlock);
    r1 = start(rw_reader, "1");
    r2 = start(rw_reader, "2");
    w = start(rw_writer, "w");
    r3 = start(rw_reader, "3");
    g_assert_cmpstr(order->str, ==, "12");
    qemu_coroutine_enter(r1);
    g_assert_cmpstr(order->str, ==, "12");
    qemu_coroutine_enter(r2);
    g_assert_cmpstr(order->str, ==, "12w");
    qemu_coroutine_enter(w);
    g_assert_cmpstr(order->str, ==, "12wd3");
    qemu_coroutine_enter(r3);
    qemu_coroutine_enter(w);
    g_assert_cmpint(co_rwlock.owners, ==, 0);
    g_string_free(order, true);
}

/* Two readers that upgrade must not wait for each other. */
static void test_rwlock_upgrade(void)
{
    Coroutine *a, *b;

    order = g_string_new("");
    qemu_co_rwlock_init(&co_rwlock);
    a = start(rw_upgrader, "a");
    b = start(rw_upgrader, "b");
    qemu_coroutine_enter(a);
    g_assert_cmpstr(order->str, ==, "ab");
    qemu_coroutine_enter(b);
    g_assert_cmpstr(order->str, ==, "abuu");
    g_assert_cmpint(co_rwlock.owners, ==, 0);
    g_string_free(order, true);
}

static QemuCoSleep sleeper;

static void coroutine_fn sleep_twice(void *opaque)
{
    int64_t begin = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, 1000000);
    g_assert_cmpint(qemu_clock_get_ns(QEMU_CLOCK_REALTIME), >=,
                    begin + 1000000);
    ++*(int *)opaque;
    qemu_co_sleep_ns_wakeable(&sleeper, QEMU_CLOCK_REALTIME, INT64_MAX);
    ++*(int *)opaque;
}

static void test_sleep(void)
{
    int steps = 0;

    qemu_coroutine_enter(qemu_coroutine_create(sleep_twice, &steps));
    g_assert_cmpint(steps, ==, 0);
    poll_until(&steps, 1);
    g_assert_nonnull(sleeper.to_wake);
    qemu_co_sleep_wake(&sleeper);
    g_assert_cmpint(steps, ==, 2);
    qemu_co_sleep_wake(&sleeper);
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/coroutine/yield", test_yield);
    g_test_add_func("/coroutine/nesting", test_nesting);
    g_test_add_func("/coroutine/state", test_state);
    g_test_add_func("/coroutine/wake-chain", test_wake_chain);
    g_test_add_func("/coroutine/birth-chain", test_birth_chain);
    g_test_add_func("/coroutine/wake-order", test_wake_order);
    g_test_add_func("/coroutine/pool-reuse", test_pool_reuse);
    g_test_add_func("/coroutine/pool-overflow", test_pool_overflow);
    g_test_add_func("/coroutine/migration", test_migration);
    g_test_add_func("/coroutine/misuse", test_misuse);
    g_test_add_func("/co-mutex/fifo", test_mutex_fifo);
    g_test_add_func("/co-mutex/threads", test_mutex_threads);
    g_test_add_func("/co-queue", test_queue);
    g_test_add_func("/co-rwlock/fair", test_rwlock_fair);
    g_test_add_func("/co-rwlock/upgrade", test_rwlock_upgrade);
    g_test_add_func("/co-rwlock/threads", test_rwlock_threads);
    g_test_add_func("/co-sleep", test_sleep);
    return g_test_run();
}
