/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events on their way to a client: the limit of their rate, and those that
 * come from another thread.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include <sys/socket.h>
#include "block/block.h"
#include "chardev/char.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-control.h"
#include "qapi/qapi-events-block-core.h"
#include "qapi/qapi-events-job.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

static int client_fd;
static GString *received;

void qmp_quit(Error **errp)
{
    g_assert_not_reached();
}

/* Run the loop for @ms, or until @count lines are there. */
static void receive(unsigned count, int ms)
{
    int64_t end = g_get_monotonic_time() + ms * 1000;
    unsigned lines = 0;
    char buf[4096];

    while (lines < count && g_get_monotonic_time() < end) {
        ssize_t n, i;

        main_loop_wait(true);
        monitor_dispatch();
        n = read(client_fd, buf, sizeof(buf));
        if (n <= 0) {
            g_usleep(1000);
            continue;
        }
        g_string_append_len(received, buf, n);
        for (i = 0; i < n; i++) {
            lines += buf[i] == '\n';
        }
    }
}

/* The @member of the data of all events so far, then forget them. */
static char *take(const char *member)
{
    g_auto(GStrv) lines = g_strsplit(received->str, "\n", -1);
    GString *text = g_string_new(NULL);
    char **line;

    for (line = lines; *line && **line; line++) {
        struct json_object *json = json_tokener_parse(*line);
        struct json_object *data, *value;

        g_assert_true(json_object_object_get_ex(json, "data", &data));
        g_assert_true(json_object_object_get_ex(data, member, &value));
        g_string_append_printf(text, "%s;", json_object_get_string(value));
        json_object_put(json);
    }
    g_string_truncate(received, 0);
    return g_string_free(text, false);
}

#define assert_received(member, want) do {          \
        g_autofree char *got_ = take(member);       \
                                                    \
        g_assert_cmpstr(got_, ==, want);            \
    } while (0)

static void io_error(const char *node, BlockErrorAction action,
                     const char *reason)
{
    qapi_event_send_block_io_error("", "", node, IO_OPERATION_TYPE_READ,
                                   action, true, false, reason);
}

static void test_rate(void)
{
    int64_t start = g_get_monotonic_time();
    int i;

    for (i = 0; i < 100; i++) {
        io_error("a", BLOCK_ERROR_ACTION_REPORT, i == 0 ? "first" :
                 i == 99 ? "last" : "between");
    }
    io_error("b", BLOCK_ERROR_ACTION_REPORT, "other");
    io_error("a", BLOCK_ERROR_ACTION_STOP, "stop");
    io_error("a", BLOCK_ERROR_ACTION_STOP, "stop");
    receive(4, 5000);
    assert_received("reason", "first;other;stop;stop;");
    receive(1, 5000);
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 990 * 1000);
    assert_received("reason", "last;");
    /* The interval after that one is empty; then it begins anew. */
    receive(1, 1200);
    assert_received("reason", "");
    io_error("a", BLOCK_ERROR_ACTION_REPORT, "again");
    receive(1, 5000);
    assert_received("reason", "again;");
}

static void *send_from_thread(void *opaque)
{
    static const char *const ids[] = { "1", "2", "3", "4" };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(ids); i++) {
        qapi_event_send_job_status_change(ids[i], JOB_STATUS_RUNNING);
    }
    return NULL;
}

static void test_thread(void)
{
    QemuThread thread;

    qemu_thread_create(&thread, "events", send_from_thread, NULL,
                       QEMU_THREAD_JOINABLE);
    qemu_thread_join(&thread);
    receive(4, 5000);
    assert_received("id", "1;2;3;4;");
}

/* What is held when the monitors go is dropped, and nothing is left. */
static void test_cleanup(void)
{
    io_error("c", BLOCK_ERROR_ACTION_REPORT, "first");
    io_error("c", BLOCK_ERROR_ACTION_REPORT, "held");
    monitor_cleanup();
    io_error("c", BLOCK_ERROR_ACTION_REPORT, "nobody listens");
    receive(2, 50);
    assert_received("reason", "first;");
}

static void begin(void)
{
    static const char request[] = "{\"execute\":\"qmp_capabilities\"}";
    g_autofree char *params = NULL;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds),
                    ==, 0);
    client_fd = fds[0];
    received = g_string_new(NULL);
    params = g_strdup_printf("socket,id=c,fd=%d", fds[1]);
    qemu_chr_new_from_opts(params, &error_abort);
    monitor_init_globals();
    monitor_new_qmp(qemu_chr_find("c"), false, &error_abort);
    g_assert_cmpint(write(client_fd, request, strlen(request)), ==,
                    strlen(request));
    receive(2, 5000);
    g_string_truncate(received, 0);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    begin();
    g_test_add_func("/qmp-event/rate", test_rate);
    g_test_add_func("/qmp-event/thread", test_thread);
    g_test_add_func("/qmp-event/cleanup", test_cleanup);
    ret = g_test_run();
    qemu_chr_cleanup();
    close(client_fd);
    g_string_free(received, true);
    qemu_cleanup_main_loop();
    return ret;
}
