/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: what a client sends to a QMP monitor.  The input is that, after
 * qmp_capabilities.
 *
 * Whatever it is, the monitor answers in JSON, and then understands a request;
 * and all that was made can be deleted.
 */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include <sys/socket.h>
#include "block/export.h"
#include "block/monitor/nodes.h"
#include "block/nbd.h"
#include "chardev/char.h"
#include "fuzz.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-control.h"
#include "qemu/error-report.h"
#include "qemu/job.h"
#include "qemu/main-loop.h"
#include "qemu/option.h"
#include "qom/objects.h"

/* A request that takes longer than this hangs, also with sanitizers. */
#define SECONDS_EACH 30

static const char beginning[] =
    "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}";
/* After the end of a line, and of what was wrong in it. */
static const char ending[] =
    "\n\xff{\"execute\":\"query-version\",\"id\":\"fuzz-end\"}\n";

static bool quit;

void qmp_quit(Error **errp)
{
    quit = true;
}

/* No socket of the input's is outside of the folder. */
int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    errno = EACCES;
    return -1;
}

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    errno = EACCES;
    return -1;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_init(argc, argv);
    error_set_progname("qemu-storage-daemon");
    return 0;
}

static void G_GNUC_NORETURN broken(const char *what, const char *text)
{
    g_printerr("fuzz: %s: %.300s\n", what, text);
    abort();
}

/* One line of the monitor's.  True if it is the answer to the last request. */
static bool check_line(const char *line)
{
    /* An answer has the "id", which may be as deep as a request. */
    struct json_tokener *tok = json_tokener_new_ex(QMP_MAX_DEPTH + 8);
    struct json_object *json, *id;
    bool end;

    json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
    json = json_tokener_parse_ex(tok, line, strlen(line) + 1);
    if (json_tokener_get_error(tok) != json_tokener_success ||
        !json_object_is_type(json, json_type_object)) {
        broken("no JSON object", line);
    }
    end = json_object_object_get_ex(json, "id", &id) &&
          json_object_is_type(id, json_type_string) &&
          !strcmp(json_object_get_string(id), "fuzz-end");
    json_object_put(json);
    json_tokener_free(tok);
    return end;
}

/* Take whole lines out of @text; true if the last answer is among them. */
static bool check_lines(GString *text)
{
    char *newline;

    while ((newline = memchr(text->str, '\n', text->len))) {
        bool end;

        *newline = '\0';
        end = check_line(text->str);
        g_string_erase(text, 0, newline + 1 - text->str);
        if (end) {
            return true;
        }
    }
    return false;
}

static void run_until_end(int fd)
{
    GString *text = g_string_new(NULL);
    int64_t start = g_get_monotonic_time();
    char buf[4096];

    while (!quit) {
        ssize_t n;

        main_loop_wait(true);
        monitor_dispatch();
        n = read(fd, buf, sizeof(buf));
        if (n > 0) {
            g_string_append_len(text, buf, n);
            if (check_lines(text)) {
                break;
            }
        } else if (n == 0) {
            broken("the monitor has closed", text->str);
        }
        if (g_get_monotonic_time() - start > SECONDS_EACH * G_USEC_PER_SEC) {
            broken("no answer", text->str);
        }
    }
    g_string_free(text, true);
}

static void send_all(int fd, const void *data, size_t size)
{
    if (write(fd, data, size) != (ssize_t)size) {
        broken("cannot send", "");
    }
}

static void delete_all(void)
{
    nbd_server_stop();
    blk_exp_close_all();
    job_cancel_sync_all();
    user_objects_cleanup(true);
    bdrv_drain_all();
    blockdev_close_all();
    user_objects_cleanup(false);
    monitor_cleanup();
    qemu_chr_cleanup();
    if (bdrv_next_node(NULL)) {
        broken("a node is left", bdrv_get_node_name(bdrv_next_node(NULL)));
    }
}

static Chardev *make_chardev(int fd)
{
    g_autofree char *params = g_strdup_printf("socket,id=fuzz,fd=%d", fd);

    qemu_chr_new_from_opts(params, &error_abort);
    return qemu_chr_find("fuzz");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2];

    /* Requests that take years are no fault. */
    if (memmem(data, size, "latency", 7) || size > 64 * 1024) {
        return 0;
    }
    fuzz_begin();
    fuzz_put("raw.img", "raw", 3);
    fuzz_put_image("x.vmdk", "vmdk", "size=1M");
    quit = false;
    monitor_init_globals();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) < 0) {
        abort();
    }
    monitor_new_qmp(make_chardev(fds[1]), false, &error_abort);
    send_all(fds[0], beginning, strlen(beginning));
    send_all(fds[0], data, size);
    send_all(fds[0], ending, strlen(ending));
    run_until_end(fds[0]);
    delete_all();
    close(fds[0]);
    fuzz_end();
    return 0;
}
