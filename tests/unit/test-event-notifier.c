/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Event notifiers and notifier lists.
 */
#include "qemu/osdep.h"
#include "qemu/event_notifier.h"
#include "qemu/notify.h"
#include "qemu/thread.h"

#include <poll.h>

static bool readable(EventNotifier *e)
{
    struct pollfd pfd = { .fd = event_notifier_get_fd(e), .events = POLLIN };

    return poll(&pfd, 1, 0) == 1;
}

static void check_set_and_clear(EventNotifier *e)
{
    g_assert_false(readable(e));
    g_assert_cmpint(event_notifier_test_and_clear(e), ==, 0);
    g_assert_cmpint(event_notifier_set(e), ==, 0);
    g_assert_cmpint(event_notifier_set(e), ==, 0);
    g_assert_true(readable(e));
    g_assert_cmpint(event_notifier_test_and_clear(e), ==, 1);
    g_assert_false(readable(e));
    g_assert_cmpint(event_notifier_test_and_clear(e), ==, 0);
}

static void test_basic(void)
{
    EventNotifier e;

    g_assert_cmpint(event_notifier_init(&e, 0), ==, 0);
    g_assert_cmpint(event_notifier_get_fd(&e), ==, e.fd);
    g_assert_true(fcntl(e.fd, F_GETFD) & FD_CLOEXEC);
    g_assert_true(fcntl(e.fd, F_GETFL) & O_NONBLOCK);
    check_set_and_clear(&e);

    event_notifier_cleanup(&e);
    g_assert_cmpint(event_notifier_set(&e), ==, -EBADF);
    g_assert_cmpint(event_notifier_test_and_clear(&e), ==, 0);
    event_notifier_cleanup(&e);
}

static void test_active(void)
{
    EventNotifier e;

    g_assert_cmpint(event_notifier_init(&e, 1), ==, 0);
    g_assert_true(readable(&e));
    g_assert_cmpint(event_notifier_test_and_clear(&e), ==, 1);
    event_notifier_cleanup(&e);
}

/* A full counter is signalled, and no error. */
static void test_overflow(void)
{
    uint64_t most = UINT64_MAX - 1;
    EventNotifier e;

    g_assert_cmpint(event_notifier_init(&e, 0), ==, 0);
    g_assert_cmpint(write(e.fd, &most, sizeof(most)), ==, sizeof(most));
    g_assert_cmpint(event_notifier_set(&e), ==, 0);
    g_assert_cmpint(event_notifier_test_and_clear(&e), ==, 1);
    g_assert_false(readable(&e));
    event_notifier_cleanup(&e);
}

static void *setter(void *opaque)
{
    g_assert_cmpint(event_notifier_set(opaque), ==, 0);
    return NULL;
}

static void test_thread(void)
{
    EventNotifier e;
    QemuThread thread;
    struct pollfd pfd;

    g_assert_cmpint(event_notifier_init(&e, 0), ==, 0);
    qemu_thread_create(&thread, "setter", setter, &e, QEMU_THREAD_JOINABLE);
    pfd = (struct pollfd) { .fd = event_notifier_get_fd(&e),
                            .events = POLLIN };
    g_assert_cmpint(poll(&pfd, 1, -1), ==, 1);
    g_assert_cmpint(event_notifier_test_and_clear(&e), ==, 1);
    qemu_thread_join(&thread);
    event_notifier_cleanup(&e);
}

typedef struct {
    Notifier n;
    GString *log;
    char id;
} LogNotifier;

static void log_notify(Notifier *n, void *data)
{
    LogNotifier *l = container_of(n, LogNotifier, n);

    g_string_append_c(l->log, l->id);
    if (data == l) {
        notifier_remove(n);
    }
}

static void test_notifier_list(void)
{
    GString *log = g_string_new("");
    LogNotifier a = { { .notify = log_notify }, log, 'a' };
    LogNotifier b = { { .notify = log_notify }, log, 'b' };
    NotifierList list = NOTIFIER_LIST_INITIALIZER(list);

    g_assert_true(notifier_list_empty(&list));
    notifier_list_add(&list, &a.n);
    notifier_list_add(&list, &b.n);
    notifier_list_notify(&list, &b);
    g_assert_cmpstr(log->str, ==, "ba");
    notifier_list_notify(&list, NULL);
    g_assert_cmpstr(log->str, ==, "baa");
    notifier_remove(&a.n);
    g_assert_true(notifier_list_empty(&list));
    g_string_free(log, true);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/event-notifier/basic", test_basic);
    g_test_add_func("/event-notifier/active", test_active);
    g_test_add_func("/event-notifier/overflow", test_overflow);
    g_test_add_func("/event-notifier/thread", test_thread);
    g_test_add_func("/notifier-list", test_notifier_list);
    return g_test_run();
}
